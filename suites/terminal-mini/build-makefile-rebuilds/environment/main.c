#include <stdio.h>
#include "greet.h"
int plain(int);
int main(void) { printf("%s %d\n", greeting(), plain(20)); return 0; }

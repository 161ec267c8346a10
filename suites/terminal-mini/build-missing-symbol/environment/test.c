#include <assert.h>
#include <stdio.h>
#include "ring.h"

int main(void) {
    ring r; int v;
    ring_clear(&r);
    for (int i = 0; i < RING_SIZE; i++) assert(ring_put(&r, i) == 0);
    assert(ring_put(&r, 99) == -1);
    assert(ring_count(&r) == RING_SIZE);
    for (int i = 0; i < RING_SIZE; i++) { assert(ring_take(&r, &v) == 0); assert(v == i); }
    assert(ring_take(&r, &v) == -1);
    puts("ok");
    return 0;
}

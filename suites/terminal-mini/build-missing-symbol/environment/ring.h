#ifndef RING_H
#define RING_H
#define RING_SIZE 4
typedef struct { int items[RING_SIZE]; int head; int count; } ring;
void ring_clear(ring *r);
int ring_put(ring *r, int value);
int ring_take(ring *r, int *value);
int ring_count(const ring *r);
#endif

#include "ring.h"

void ring_clear(ring *r) { r->head = 0; r->count = 0; }

int ring_put(ring *r, int value) {
    if (r->count > RING_SIZE) return -1;
    r->items[(r->head + r->count) % RING_SIZE] = value;
    r->count++;
    return 0;
}

int ring_get(ring *r, int *value) {
    if (r->count == 0) return -1;
    *value = r->items[r->head];
    r->head = (r->head + 1) % RING_SIZE;
    r->count--;
    return 0;
}

int ring_count(const ring *r) { return r->count; }

/* src/reactor/ring_queue.h: bounded single-producer, single-consumer ring of 64-byte slots.
 *
 * Why:    what crosses cores is explicit and bounded: no lock, no allocation, one cache line a message.
 * Shape:  push -> [slots, a power of two] -> pop, in order, each exactly once
 * Thread: one thread pushes, one thread pops; they may be the same.
 * Errors: -PARLEY_ERR_FULL from push; nothing has changed.
 */
#ifndef PARLEY_REACTOR_RING_QUEUE_H
#define PARLEY_REACTOR_RING_QUEUE_H

#include "src/base/base.h"

enum { RING_QUEUE_SLOT_BYTES = 64, RING_QUEUE_SLOT_COUNT_MAX = 1 << 20 };

struct ring_slot {
    uint64_t words[RING_QUEUE_SLOT_BYTES / sizeof(uint64_t)];
};

struct ring_queue;

/* `slot_count` is a power of two up to RING_QUEUE_SLOT_COUNT_MAX. -PARLEY_ERR_BAD_REQUEST, -PARLEY_ERR_NOMEM.
 * Owns: the caller destroys the queue after both threads left it. */
PARLEY_MUST_USE int ring_queue_create(uint32_t slot_count, struct ring_queue **out);
void ring_queue_destroy(struct ring_queue **queue);

PARLEY_MUST_USE int ring_queue_push(struct ring_queue *queue, const struct ring_slot *slot);
/* False when empty. */
PARLEY_MUST_USE bool ring_queue_pop(struct ring_queue *queue, struct ring_slot *slot);
/* Slots in use, as the consumer sees it: a concurrent push may add to it, nothing takes from it. */
uint32_t ring_queue_count(struct ring_queue *queue);

#endif

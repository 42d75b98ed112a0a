/* Invariants:
 * 1. head <= tail <= head + slot_count; both only rise and are 64 bits wide, so they never wrap.
 * 2. Only the producer writes tail, with release after the slot; only the consumer writes head, with release
 *    after it copied the slot. Each reads the other's index with acquire.
 * 3. head_seen <= head and tail_seen <= tail: a stale copy makes a queue look fuller (or emptier) than it is,
 *    never the reverse; it is refreshed before a refusal. So the other core's line is read once a lap.
 */
#include "src/reactor/ring_queue.h"
#include "src/base/error.h"
#include "src/base/memory.h"

#include <stdatomic.h>

enum { LINE_BYTES = 64, RING_QUEUE_MAGIC = 0x52494e47 };

_Static_assert(sizeof(struct ring_slot) == RING_QUEUE_SLOT_BYTES, "a slot is one cache line");

struct ring_queue {
    /* Read by both, written by none. */
    _Alignas(LINE_BYTES) uint32_t magic;
    uint32_t mask;
    void *block; /* what memory_alloc gave: the queue itself is moved up to a line's start */
    /* The producer's line. */
    _Alignas(LINE_BYTES) _Atomic uint64_t tail;
    uint64_t head_seen;
    /* The consumer's line. */
    _Alignas(LINE_BYTES) _Atomic uint64_t head;
    uint64_t tail_seen;
    _Alignas(LINE_BYTES) struct ring_slot slots[];
};

int ring_queue_create(uint32_t slot_count, struct ring_queue **out)
{
    if (slot_count == 0 || slot_count > RING_QUEUE_SLOT_COUNT_MAX || (slot_count & (slot_count - 1)))
        return -PARLEY_ERR_BAD_REQUEST;
    size_t bytes = sizeof(struct ring_queue) + (size_t)slot_count * sizeof(struct ring_slot);
    char *block = memory_zalloc(bytes + LINE_BYTES - 1);
    if (!block)
        return -PARLEY_ERR_NOMEM;
    struct ring_queue *queue = (void *)(block + (-(uintptr_t)block & (LINE_BYTES - 1)));
    queue->magic = RING_QUEUE_MAGIC;
    queue->mask = slot_count - 1;
    queue->block = block;
    *out = queue;
    return 0;
}

void ring_queue_destroy(struct ring_queue **queue)
{
    if (!*queue)
        return;
    parley_assert((*queue)->magic == RING_QUEUE_MAGIC);
    (*queue)->magic = 0;
    memory_free((*queue)->block);
    *queue = NULL;
}

int ring_queue_push(struct ring_queue *queue, const struct ring_slot *slot)
{
    uint64_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    if (tail - queue->head_seen > queue->mask) {
        queue->head_seen = atomic_load_explicit(&queue->head, memory_order_acquire);
        if (tail - queue->head_seen > queue->mask)
            return -PARLEY_ERR_FULL;
    }
    queue->slots[tail & queue->mask] = *slot;
    atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
    return 0;
}

bool ring_queue_pop(struct ring_queue *queue, struct ring_slot *slot)
{
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head == queue->tail_seen) {
        queue->tail_seen = atomic_load_explicit(&queue->tail, memory_order_acquire);
        if (head == queue->tail_seen)
            return false;
    }
    *slot = queue->slots[head & queue->mask];
    atomic_store_explicit(&queue->head, head + 1, memory_order_release);
    return true;
}

uint32_t ring_queue_count(struct ring_queue *queue)
{
    uint64_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    queue->tail_seen = atomic_load_explicit(&queue->tail, memory_order_acquire);
    return (uint32_t)(queue->tail_seen - head);
}

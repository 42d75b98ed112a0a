#include "src/shard/writeback.h"

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/rows.h"

struct flight {
    struct writeback *writeback;
    struct flight *next;
    size_t bytes;
    uint32_t count;
    struct object *objects[WRITEBACK_OBJECTS_MAX];
};

void writeback_init(struct writeback *w, struct objects *objects, struct store *store, uint64_t applied,
                    uint32_t batch_bytes)
{
    *w = (struct writeback){.objects = objects, .store = store, .applied = applied};
    w->batch_bytes = batch_bytes ? batch_bytes : WRITEBACK_BATCH_BYTES;
    w->big_tail = &w->big;
    w->flights_tail = &w->flights;
}

static void flights_pop(struct writeback *w)
{
    struct flight *flight = w->flights;
    w->flights = flight->next;
    if (!w->flights)
        w->flights_tail = &w->flights;
    memory_free(flight);
}

void writeback_end(struct writeback *w)
{
    while (w->flights)
        flights_pop(w);
}

static void list_push(struct writeback *w, struct object *node)
{
    node->dirty_newer = NULL;
    node->dirty_older = w->newest;
    *(w->newest ? &w->newest->dirty_newer : &w->oldest) = node;
    w->newest = node;
    w->dirty_count++;
}

static void list_unlink(struct writeback *w, struct object *node)
{
    *(node->dirty_older ? &node->dirty_older->dirty_newer : &w->oldest) = node->dirty_newer;
    *(node->dirty_newer ? &node->dirty_newer->dirty_older : &w->newest) = node->dirty_older;
    node->dirty_older = node->dirty_newer = NULL;
    w->dirty_count--;
}

void writeback_touched(struct writeback *w, struct object *node, uint64_t position, size_t event_bytes,
                       uint64_t log_bytes)
{
    parley_assert(position >= w->applied);
    if (!node->dirty_from) {
        node->dirty_from = position;
        node->dirty_since = log_bytes;
        list_push(w, node);
    }
    node->dirty_bytes += event_bytes;
    w->dirty_bytes += event_bytes;
    if (node->dirty_bytes >= w->batch_bytes / 2 && !node->big) {
        node->big = true;
        node->big_next = NULL;
        *w->big_tail = node;
        w->big_tail = &node->big_next;
    }
}

uint64_t writeback_redo(const struct writeback *w)
{
    return w->oldest ? w->oldest->dirty_from : w->applied;
}

uint64_t writeback_lag_bytes(const struct writeback *w, uint64_t log_bytes)
{
    return w->oldest ? log_bytes - w->oldest->dirty_since : 0;
}

bool writeback_can(const struct writeback *w)
{
    return w->batch_count < WRITEBACK_BATCHES_MAX;
}

bool writeback_has_big(const struct writeback *w)
{
    return w->big != NULL;
}

static void flown(void *owner)
{
    struct flight *flight = owner;
    struct writeback *w = flight->writeback;
    for (uint32_t i = 0; i < flight->count; i++) {
        struct object *node = flight->objects[i];
        parley_assert(node->flying > 0);
        if (--node->flying == 0) {
            rows_forget(node);
            objects_measure(w->objects, node);
        }
    }
    w->batch_count--;
    w->batches_written++;
    w->bytes_written += flight->bytes;
    parley_assert(w->flights == flight);
    flights_pop(w);
}

/* The next object to freeze: the big ones first, then by age. */
static struct object *next_of(struct object **big, struct object **old)
{
    struct object *node = *big;
    if (node) {
        *big = node->big_next;
        return node;
    }
    while (*old && (*old)->big) /* it is in already */
        *old = (*old)->dirty_newer;
    node = *old;
    if (node)
        *old = node->dirty_newer;
    return node;
}

/* Puts objects into the batch; they stay as they are until it is submitted. */
static void fill(const struct writeback *w, struct store_batch *batch, struct flight *flight)
{
    struct object *big = w->big, *old = w->oldest, *node;
    while (flight->count < WRITEBACK_OBJECTS_MAX && store_batch_bytes(batch) < w->batch_bytes &&
           (node = next_of(&big, &old)) != NULL) {
        rows_put(batch, node);
        node->frozen = true;
        flight->objects[flight->count++] = node;
    }
}

static uint64_t redo_without_frozen(const struct writeback *w)
{
    const struct object *node = w->oldest;
    while (node && node->frozen)
        node = node->dirty_newer;
    return node ? node->dirty_from : w->applied;
}

static void take_off(struct writeback *w, struct object *node)
{
    list_unlink(w, node);
    w->dirty_bytes -= node->dirty_bytes;
    node->dirty_from = node->dirty_bytes = 0;
    node->flying++;
    if (node->big) { /* bigs are frozen from the head of their list */
        parley_assert(w->big == node);
        node->big = false;
        w->big = node->big_next;
        if (!w->big)
            w->big_tail = &w->big;
    }
    rows_submitted(node);
}

int writeback_step(struct writeback *w)
{
    struct store_batch *batch = NULL;
    struct flight *flight = memory_alloc(sizeof *flight);
    int err = flight ? store_batch_create(w->store, &batch) : -PARLEY_ERR_NOMEM;
    if (err)
        goto out;
    flight->writeback = w;
    flight->count = 0;
    fill(w, batch, flight);
    struct rows_position position = {redo_without_frozen(w), w->applied - 1};
    rows_put_position(batch, &position);
    flight->bytes = store_batch_bytes(batch);
    err = store_submit(w->store, &batch, flown, flight);
    for (uint32_t i = 0; i < flight->count; i++) {
        flight->objects[i]->frozen = false;
        if (!err)
            take_off(w, flight->objects[i]);
    }
    if (!err) {
        w->batch_count++;
        flight->next = NULL;
        *w->flights_tail = flight;
        w->flights_tail = &flight->next;
        flight = NULL;
    }
out:
    store_batch_destroy(&batch);
    memory_free(flight);
    return err;
}

/* src/shard/writeback.h: carries applied objects to the store, oldest first, behind the commit.
 *
 * Why:    a row per message is too dear; what is written late is written once, in chunks.
 * Shape:  apply -> writeback_touched -> [list of dirty objects, by their first unwritten event] -> batch -> store thread
 *         -> flown -> clean. The head of the list is the redo: a start replays from there.
 * Rules:  1. Freezing takes an object off the list; an event that is applied while its batch flies puts it at the tail
 *            again with its own position, so the list stays sorted without searching.
 *         2. Batches are written in order, so a batch's redo may count what is frozen in it and in all before it.
 *         3. An object with half a batch unwritten goes first, wherever it stands, so that no batch grows without limit.
 * Limits: BATCHES_MAX batches under way; a batch takes objects until it has batch_bytes, and an object is whole in it.
 * Thread: the shard's reactor.
 * Errors: -PARLEY_ERR_NOMEM: nothing has changed, try again later. Others come from the store and are fatal.
 */
#ifndef PARLEY_SHARD_WRITEBACK_H
#define PARLEY_SHARD_WRITEBACK_H

#include "src/shard/objects.h"
#include "storage/store.h"

enum {
    WRITEBACK_BATCH_BYTES = 256 << 10, /* where the options name none */
    WRITEBACK_BATCHES_MAX = 4,
    WRITEBACK_OBJECTS_MAX = 1024 /* in a batch */
};

struct flight; /* a batch under way */

struct writeback {
    struct objects *objects;
    struct store *store;
    struct object *oldest, *newest; /* dirty */
    struct object *big, **big_tail;
    uint64_t dirty_bytes, dirty_count;
    uint64_t applied; /* the position after the last applied event */
    uint32_t batch_bytes, batch_count;
    struct flight *flights, **flights_tail;  /* under way, in order */
    uint64_t batches_written, bytes_written; /* counters */
};

void writeback_init(struct writeback *w, struct objects *objects, struct store *store, uint64_t applied,
                    uint32_t batch_bytes);
/* The store is closed: what it did not write is forgotten. */
void writeback_end(struct writeback *w);
/* The event at `position` was applied to the object. `log_bytes`: a count that rises with the log. */
void writeback_touched(struct writeback *w, struct object *node, uint64_t position, size_t event_bytes,
                       uint64_t log_bytes);
/* Where a start would have to replay from, if all that is under way were written. */
uint64_t writeback_redo(const struct writeback *w);
/* How far the oldest unwritten event lies behind in the log. */
uint64_t writeback_lag_bytes(const struct writeback *w, uint64_t log_bytes);
/* May another batch be frozen now? */
bool writeback_can(const struct writeback *w);
/* Some object has half a batch unwritten. */
bool writeback_has_big(const struct writeback *w);
/* Freezes one batch and submits it. With nothing dirty it carries the position alone. */
PARLEY_MUST_USE int writeback_step(struct writeback *w);

#endif

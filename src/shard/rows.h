/* src/shard/rows.h: objects as rows of the store, and back.
 *
 * Why:    one place knows which keys and families an object has; what it writes reflects exactly the object's position.
 * Shape:  conversation: a row of its own, chunk rows (~first message id: newest first), dedup rows and filter rows;
 *         page: one row; user: one row. META "position": redo and the highest position in any row.
 * Thread: loads from any thread; the rest: the shard's reactor.
 * Errors: -PARLEY_ERR_AGAIN (tier CACHE: ask a thread that may block), -PARLEY_ERR_CORRUPT, -PARLEY_ERR_IO,
 *         -PARLEY_ERR_NOMEM.
 */
#ifndef PARLEY_SHARD_ROWS_H
#define PARLEY_SHARD_ROWS_H

#include "src/shard/objects.h"
#include "storage/store.h"

enum { ROWS_CHUNK_KEY_BYTES = 24 };

/* The object as the store has it; *out is NULL when it has none. Owns: the caller's, objects_give takes it. */
PARLEY_MUST_USE int rows_load(struct store *store, const struct machine_key *key, enum store_tier tier,
                              const struct dedup_options *dedup, void **out);
/* The dedup row that begins with the event; *row is NULL when there is none. Owns: memory_free. */
PARLEY_MUST_USE int rows_load_dedup(struct store *store, const struct id16 *conversation, uint64_t first_id,
                                    enum store_tier tier, uint8_t **row, size_t *len);

/* Puts what the store lacks of the object. Out of memory shows when the batch is submitted. */
void rows_put(struct store_batch *batch, const struct object *node);
/* The batch with what rows_put has put is submitted: nothing was applied in between. */
void rows_submitted(struct object *node);
/* Nothing of it is under way: memory that the store makes superfluous is freed. */
void rows_forget(struct object *node);

struct rows_position {
    uint64_t redo, max_position;
};
void rows_put_position(struct store_batch *batch, const struct rows_position *position);
/* A fresh store: zeroes. */
PARLEY_MUST_USE int rows_load_position(struct store *store, enum store_tier tier, struct rows_position *out);

/* Key of the chunk that begins with the message; keys of newer chunks are smaller. */
void rows_chunk_key(const struct id16 *conversation, uint64_t first_id, uint8_t key[ROWS_CHUNK_KEY_BYTES]);

#endif

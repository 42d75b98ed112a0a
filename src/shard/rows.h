/* src/shard/rows.h: objects as rows of the store, and back.
 *
 * Why:    one place knows which keys and families an object has; what it writes reflects exactly the object's position.
 * Shape:  conversation: a row of its own, chunk rows (~first message id: newest first), dedup rows and filter rows;
 *         page: one row; user: one row. MEMBERSHIPS: user 16, conversation 16 -> version u8, event id u64.
 *         META "position": redo and the highest position in any row; "derived", source u32 BE -> offset u64;
 *         "large", conversation 16 -> version u8.
 * Thread: loads from any thread; the rest: the shard's reactor.
 * Errors: -PARLEY_ERR_AGAIN (tier CACHE: ask a thread that may block), -PARLEY_ERR_CORRUPT, -PARLEY_ERR_IO,
 *         -PARLEY_ERR_NOMEM.
 */
#ifndef PARLEY_SHARD_ROWS_H
#define PARLEY_SHARD_ROWS_H

#include "src/shard/objects.h"
#include "storage/store.h"

enum {
    ROWS_CHUNK_KEY_BYTES = 24, /* of chunks, dedup rows and filters */
    ROWS_PAGE_KEY_BYTES = 20,
    ROWS_MEMBERSHIP_KEY_BYTES = 32
};

/* The object as the store has it; *out is NULL when it has none. Owns: the caller's, objects_give takes it. */
PARLEY_MUST_USE int rows_load(struct store *store, const struct machine_key *key, enum store_tier tier,
                              const struct dedup_options *dedup, void **out);
/* Its node, loaded or fresh: for who may block, such as a replay. Errors: rows_load's, and then the node is empty. */
PARLEY_MUST_USE int rows_need(struct store *store, struct objects *objects, const struct machine_key *key,
                              struct object **out);
/* A decoded conversation's filters. Errors: -PARLEY_ERR_CORRUPT also when one is missing. */
PARLEY_MUST_USE int rows_load_filters(struct store *store, struct conversation *c, enum store_tier tier);
/* Puts all that dedup knows as its filter rows, in place of those that are there. */
void rows_put_filters(struct store_batch *batch, const struct conversation *c);
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

/* Who is in which conversation, by the event that made him a member; derived, src/shard/derive.h. */
void rows_put_membership(struct store_batch *batch, const struct id16 *user, const struct id16 *conversation,
                         uint64_t id);
void rows_delete_membership(struct store_batch *batch, const struct id16 *user,
                            const struct id16 *conversation);
/* Rows of the user whose conversation is not below `from`, in order. Errors: store_scan's, -PARLEY_ERR_CORRUPT. `fn` answers
 * as a store_row_fn. */
typedef int rows_membership_fn(void *owner, const struct id16 *conversation, uint64_t id);
PARLEY_MUST_USE int rows_scan_memberships(struct store *store, const struct id16 *user,
                                          const struct id16 *from, rows_membership_fn *fn, void *owner);
/* 0 in *id: there is no such row. */
PARLEY_MUST_USE int rows_load_membership(struct store *store, const struct id16 *user,
                                         const struct id16 *conversation, enum store_tier tier, uint64_t *id);
/* Which conversations are large, of all shards; derived. */
void rows_put_large(struct store_batch *batch, const struct id16 *conversation);
void rows_delete_large(struct store_batch *batch, const struct id16 *conversation);
typedef int rows_large_fn(void *owner, const struct id16 *conversation);
PARLEY_MUST_USE int rows_scan_large(struct store *store, rows_large_fn *fn, void *owner);
/* How far what concerns this shard's users is derived from a source; 1, where positions begin, when there is no row. */
void rows_put_offset(struct store_batch *batch, uint32_t source, uint64_t offset);
PARLEY_MUST_USE int rows_load_offset(struct store *store, uint32_t source, enum store_tier tier,
                                     uint64_t *out);

/* The first message's id out of such a key. Errors: -PARLEY_ERR_CORRUPT. */
PARLEY_MUST_USE int rows_chunk_first_id(struct span key, uint64_t *out);
/* Key of the chunk that begins with the message; keys of newer chunks are smaller. */
void rows_chunk_key(const struct id16 *conversation, uint64_t first_id, uint8_t key[ROWS_CHUNK_KEY_BYTES]);

#endif

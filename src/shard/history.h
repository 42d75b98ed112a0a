/* src/shard/history.h: pages of a conversation's messages, out of memory and out of the store.
 *
 * Why:    keyset pages by message id, stable under concurrent writes: no gap, no repeat.
 * Shape:  a gathering takes rows of chunks in the direction of its query, keeps what is wanted, and knows when it has
 *         enough. The newest chunks are in memory (conversation_kept_from says from where on), older ones in the store.
 *         BEFORE: memory, then store. AFTER: store, then memory. AROUND: the shard asks for both.
 * Thread: history_store on one that may block; the rest: the shard's reactor.
 * Errors: -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT, -PARLEY_ERR_IO.
 */
#ifndef PARLEY_SHARD_HISTORY_H
#define PARLEY_SHARD_HISTORY_H

#include "src/shard/request.h"
#include "storage/store.h"

enum { HISTORY_BYTES_MAX = 1 << 20 }; /* of a page, but one message always fits */

struct history_piece { /* entries of one chunk */
    const uint8_t *bytes;
    uint8_t *own; /* NULL: they lie in the object */
    size_t len;
    uint32_t count;
};

struct history {
    struct id16 conversation;
    bool forward;
    uint64_t after, before; /* what is still wanted lies strictly between */
    uint32_t limit, count;
    size_t len;
    bool full;                    /* something that was wanted had no place: there is more */
    uint64_t store_below;         /* messages from here on are in memory */
    struct history_piece *pieces; /* in the order in which they were taken */
    uint32_t piece_count, piece_max;
};

void history_begin(struct history *h, const struct id16 *conversation, bool forward, uint64_t from,
                   uint32_t limit);
void history_end(struct history *h);
/* Borrows from the conversation: until history_own, nothing of it may change. */
PARLEY_MUST_USE int history_memory(struct history *h, const struct conversation *conversation);
/* Copies what is borrowed. */
PARLEY_MUST_USE int history_own(struct history *h);
/* What the store has below h->store_below. */
PARLEY_MUST_USE int history_store(struct history *h, struct store *store);
/* All entries in rising order, behind those that the page has; sets `older` or `newer`. */
PARLEY_MUST_USE int history_give(struct history *h, struct shard_page *page);

#endif

/* src/machine/conversation.h: a conversation, the object.
 *
 * Why:    its owner judges every command against it, and its rows are what a restart finds.
 * Shape:  who it is (set by its EVENT_CREATED), counts, the tail of messages not yet written back (chunk.h)
 * and dedup (dedup.h). Counts are kept twice: applied (committed: what readers see and rows hold) and ahead
 * (with what is decided but not committed: what the next decision sees). Both are equal when nothing is under
 * way. Row: scalars, position and the bounds of dedup; chunks and dedup have rows of their own. Thread: its
 * shard's reactor. Owner:  conversation_create and conversation_decode give the caller an object to destroy.
 * Errors: -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT; on error nothing has changed.
 */
#ifndef PARLEY_MACHINE_CONVERSATION_H
#define PARLEY_MACHINE_CONVERSATION_H

#include "src/machine/chunk.h"
#include "src/machine/dedup.h"

enum {
    CONVERSATION_ROW_BYTES_MAX = 1024,
    CONVERSATION_SENDERS_MAX =
        8 /* a direct one and most of a group's talk: their own messages are never unread */
};

/* Who sent lately, and his last message: what he has sent he has read. */
struct conversation_sender {
    uint64_t tag; /* event_sender_tag of his hash */
    uint64_t seq;
};

struct conversation_counts {
    bool exists;
    uint32_t members, entries, owners; /* entries: all who ever were in */
    uint32_t page_count;
    uint64_t last_seq, last_message_id, last_event_id;
};

struct conversation {
    struct id16 id;
    uint8_t type, creator_len; /* enum conversation_type */
    uint16_t title_len;
    uint8_t title[TITLE_BYTES_MAX], creator[USER_ID_BYTES_MAX];
    uint64_t created_id, created_ms, create_hash;
    uint64_t position;       /* the last event that `applied` contains; log positions begin at 1 */
    uint64_t ahead_position; /* the last event that `ahead` contains, when above `position` */
    struct conversation_counts applied, ahead;
    struct conversation_sender senders[CONVERSATION_SENDERS_MAX]; /* applied; newest first */
    uint32_t sender_count;
    uint64_t open_chunk_id; /* first id of the newest chunk, in memory or not; 0: no message yet */
    struct chunk **chunks;  /* oldest first; the newest takes messages */
    uint32_t chunk_count, chunk_max;
    struct dedup dedup;
};

PARLEY_MUST_USE int conversation_create(const struct id16 *id, const struct dedup_options *options,
                                        struct conversation **out);
/* Then dedup's segments are to be loaded, and conversation_give_tail may continue the newest chunk. */
PARLEY_MUST_USE int conversation_decode(const struct id16 *id, const struct dedup_options *options,
                                        struct span row, struct conversation **out);
void conversation_destroy(struct conversation **conversation);
/* The applied state. It exists. At most CONVERSATION_ROW_BYTES_MAX. */
void conversation_encode(const struct conversation *c, struct bytes_writer *w);

/* The row of the chunk open_chunk_id, so that later messages continue it. Before any is applied. */
PARLEY_MUST_USE int conversation_give_tail(struct conversation *c, struct span row);
/* Frees the oldest chunks that the store has whole, but not the newest `keep`. */
void conversation_forget_stored(struct conversation *c, uint32_t keep);
/* The messages in memory are those from this id on; 0: all there are. UINT64_MAX: none of those there are. */
uint64_t conversation_kept_from(const struct conversation *c);
/* Memory that it takes, about. */
size_t conversation_bytes(const struct conversation *c);

/* The seq of the last message of a user who sent lately; 0: not one of those. */
uint64_t conversation_sent_by(const struct conversation *c, const struct id16 *user);
struct span conversation_title(const struct conversation *c);
struct span conversation_creator(const struct conversation *c);
bool conversation_under_way(const struct conversation *c);
/* The newest event that is decided but not committed; 0: none. What refusals rest on. */
uint64_t conversation_basis(const struct conversation *c);

/* Room for the next event, so that conversation_decided cannot fail. */
PARLEY_MUST_USE int conversation_reserve(struct conversation *c);
void conversation_decided(struct conversation *c, const struct event *event, uint64_t position);
PARLEY_MUST_USE int conversation_apply(struct conversation *c, const struct event *event, uint64_t position);

#endif

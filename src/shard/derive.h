/* src/shard/derive.h: memberships, and which conversations are large: what each shard derives from the committed events of all.
 *
 * Why:    a user's list of conversations lies with him, though each conversation has its own owner. It is derived, never
 *         logged: deriving twice, or again after a crash, changes nothing.
 * Shape:  each shard is the destination of all shards, itself included, and the source of all. A destination asks a source
 *         for what concerns its users from an offset on; the source lets the question hang until it has something, or a
 *         second has gone by; the destination writes the rows and the new offset in one batch, and asks again.
 *         applied event -> [line's queue, QUEUE_BYTES_MAX] -> answer -> batch -> next question, which says how far it is
 *         A question from before the queue's beginning is served out of the log, by the reader pool.
 * Rules:  1. An offset says that everything below it is in the destination's store; it is in the same batch as the rows.
 *         2. Rows of one conversation come from one source in order, so the newest wins by being written last.
 *         3. A source's log is trimmed only below the offsets that all destinations have persisted.
 *         4. An offset beyond the source's end means that the source's log lost acknowledged events: fatal.
 *         5. That a conversation is large goes to all destinations. Who becomes a member of one is told of to the
 *            shard's owner after his row can be read, so that who asks before and listens after misses nothing.
 *         6. A source whose log is long says so with its answers; the destination flushes, and its next questions say how
 *            far it has persisted. So an idle shard does not hold a busy one's log.
 *         7. A log that cannot be read again is damaged: fatal, and the next start names the place.
 * Thread: the shard's reactor.
 * Errors: -PARLEY_ERR_NOMEM, or what the store says; a damaged row is -PARLEY_ERR_CORRUPT.
 */
#ifndef PARLEY_SHARD_DERIVE_H
#define PARLEY_SHARD_DERIVE_H

#include "src/shard/request.h"

struct derive;
struct shard;

/* Reads the offsets; blocks. Without shard_count and ask in the shard's options there is no derivation. */
PARLEY_MUST_USE int derive_open(struct shard *s, struct derive **out);
/* All questions have come home, or the process ends. */
void derive_close(struct derive **derive);
/* Destination: after this no question is asked. Source: what hangs is answered with CLOSING. */
void derive_stop(struct shard *s);

/* Source: an event was applied. */
void derive_applied(struct shard *s, const struct event *event, uint64_t position);
/* Source: a question, kind SHARD_DERIVE. */
void derive_serve(struct shard *s, struct shard_request *request);
/* Both: once a turn. */
void derive_turn(struct shard *s);
/* Source: below this no destination will ever ask again. */
uint64_t derive_offset(const struct shard *s, uint32_t source);
uint64_t derive_floor(const struct shard *s);
/* Source: answers the request when the row of the user at `position` is in his shard's store. */
void derive_answer(struct shard *s, struct shard_request *request, const struct id16 *user,
                   uint64_t position);
/* Destination: after a start it may lack rows that it had: until it has caught up with all sources, lists wait. False: it
 * has, and the request is the caller's. */
PARLEY_MUST_USE bool derive_hold_list(struct shard *s, struct shard_request *request);
/* Destination: is this a large conversation, of any shard? */
bool derive_is_large(const struct shard *s, const struct id16 *conversation);
bool derive_has_large(const struct shard *s); /* any at all */
/* Destination: what is persisted; on a pool thread, then on the reactor. */
PARLEY_MUST_USE int derive_load_persisted(struct shard *s);
void derive_take_persisted(struct shard *s);

#endif

/* src/machine/chunk.h: a run of messages, in memory as it is on disk.
 *
 * Why:    a row per message is too dear. A chunk is one row, and what is in memory is the row: appending is a
 * memcpy of one encoded entry, write-back copies bytes, a later append is a merge operand of the new bytes
 * alone. Shape:  entries one behind the other, no head, so that operands concatenate. Entry: varint length of
 * the rest, u8 kind, id u64, seq, time, created_at (varints), sender, device, content type, client id, body
 * (spans). Ids rise, seq is dense. At most 64 messages or 16 KiB, but a single message may be larger; a chunk
 * never crosses a month, so that months can be dropped. stored_*: how much of it the store has, and in how
 * many operands after the first. Thread: its shard's reactor. Owner:  chunk_create and chunk_decode give the
 * caller a chunk to destroy. Spans of messages point into the chunk and live until it is appended to or
 * destroyed. Errors: -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT; on error nothing has changed.
 */
#ifndef PARLEY_MACHINE_CHUNK_H
#define PARLEY_MACHINE_CHUNK_H

#include "src/base/bytes.h"
#include "src/machine/event.h"

enum { CHUNK_MESSAGES_MAX = 64, CHUNK_BYTES_MAX = 16 * 1024, CHUNK_OPERANDS_MAX = 16 };

struct message {
    uint64_t id, seq, time_ms, created_at_ms;
    struct span sender, device, content_type, client_id, body;
};

struct chunk {
    uint64_t first_id, first_seq, last_id; /* all 0 while it is empty */
    uint32_t count, stored_count, stored_operands;
    size_t len, stored_len, max;
    uint8_t *bytes;
};

/* Walks over encoded entries. */
struct chunk_cursor {
    struct bytes_reader reader;
};

void message_of_event(struct message *m, const struct event *event);

PARLEY_MUST_USE int chunk_create(struct chunk **out);
/* Checks every entry. What it decodes counts as stored, as one value. */
PARLEY_MUST_USE int chunk_decode(struct span row, struct chunk **out);
void chunk_destroy(struct chunk **chunk);

/* Does the message still belong here, or does a new chunk begin? */
bool chunk_fits(const struct chunk *chunk, const struct message *m);
/* Makes room, so that the chunk_append that follows cannot fail. */
PARLEY_MUST_USE int chunk_reserve(struct chunk *chunk, const struct message *m);
PARLEY_MUST_USE int chunk_append(struct chunk *chunk, const struct message *m);

/* What the store lacks: the whole row when it has none of it, else the operand. */
struct span chunk_unstored(const struct chunk *chunk);
/* So many operands stand behind its row that the next write should be the whole row anew. */
bool chunk_wants_rewrite(const struct chunk *chunk);
/* The first `count` messages, `len` bytes, are in the store now. `rewritten`: as one value. */
void chunk_stored(struct chunk *chunk, uint32_t count, size_t len, bool rewritten);

struct chunk_cursor chunk_begin(struct span row);
/* Errors: -PARLEY_ERR_END at the end, -PARLEY_ERR_CORRUPT. */
PARLEY_MUST_USE int chunk_next(struct chunk_cursor *cursor, struct message *out);
/* The same, but looks at the entry's length and id only. */
PARLEY_MUST_USE int chunk_next_id(struct chunk_cursor *cursor, uint64_t *id);
/* Errors: -PARLEY_ERR_NOT_FOUND, -PARLEY_ERR_CORRUPT. */
PARLEY_MUST_USE int chunk_find_id(struct span row, uint64_t id, struct message *out);
PARLEY_MUST_USE int chunk_find_seq(struct span row, uint64_t seq, struct message *out);
struct span chunk_row(const struct chunk *chunk);

#endif

/* src/machine/dedup.h: has this command been decided before?
 *
 * Why:    a retry must get the first result, days and restarts later, without a row per message and without a
 * read for every new message. Shape:  each event with a client id is an entry {fingerprint 128 bits, payload
 * hash, event id, seq, kind} with an ordinal 0, 1, 2 ... in its conversation. Rows of up to 64 entries, keyed
 * by their first event id, never over a month. In memory: the newest entries whole (the tail), and of all
 * within the horizon a 32-bit tag, an index tag -> ordinal, and a directory of rows. No tag: new. A tag in
 * the tail: exact. Another tag: the row must be read and is handed in. [base .. end) all known, [tail_from ..
 * end) whole in memory; [applied .. end) decided, not committed;
 *         [.. stored) in the store.
 *         Row: entries of 41 bytes one behind the other. Filter row, one per 4096 ordinals: operands {first
 * id of the row u64, first ordinal u64, count u16, tags u32 each}, one behind the other. Operands
 * concatenate. Limits: horizon_ms or entries_max, whichever is less, judged when an entry is applied, by its
 * id: the same log forgets the same. Whole rows are forgotten. Thread: its shard's reactor. Errors:
 * -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT; on error nothing has changed.
 */
#ifndef PARLEY_MACHINE_DEDUP_H
#define PARLEY_MACHINE_DEDUP_H

#include "src/base/bytes.h"

enum {
    DEDUP_ROW_ENTRIES_MAX = 64,
    DEDUP_ENTRY_BYTES = 41,
    DEDUP_ROW_BYTES_MAX = DEDUP_ROW_ENTRIES_MAX * DEDUP_ENTRY_BYTES,
    DEDUP_SEGMENT_ORDINALS = 4096,
    DEDUP_OPERAND_BYTES_MAX = 18 + 4 * DEDUP_ROW_ENTRIES_MAX,
    DEDUP_SEGMENT_BYTES_MAX = 4 * DEDUP_SEGMENT_ORDINALS + 18 * (DEDUP_SEGMENT_ORDINALS / 32),
    DEDUP_SEGMENT_REWRITE =
        256, /* so many ordinals behind the last rewriting, a filter row is written whole */
    DEDUP_ENTRIES_LIMIT = 1 << 24 /* what entries_max may be at most */
};

struct dedup_options {
    uint64_t horizon_ms;
    uint32_t entries_max;
};

struct dedup_entry {
    struct id16 fingerprint;
    uint64_t payload_hash, id, seq;
    uint8_t kind; /* enum event_kind */
};

struct dedup_row { /* of the directory */
    uint64_t first_id, first_ordinal;
};

struct dedup {
    struct dedup_options options;
    uint64_t base, end, applied, stored, tail_from;
    uint64_t stored_base; /* the base that the stored bounds have: filter rows below it are gone */
    uint32_t *tags;       /* a ring: ordinal & (tag_max - 1) */
    uint32_t tag_max;
    uint32_t *index; /* open addressing, twice tag_max: low half of ordinal, plus 1; 0 is free */
    /* While it grows: the index before, of which each addition moves some on, so that none waits for all. */
    uint32_t *old_index, old_mask;
    uint64_t moved, old_end; /* [moved, old_end) are found there and not yet here */
    struct dedup_row *rows;
    uint32_t row_from, row_count, row_max; /* rows[row_from .. row_from + row_count) */
    struct dedup_entry *tail;
    uint32_t tail_start, tail_max; /* tail[tail_start] has ordinal tail_from */
};

/* A dedup row that the store has read, for a decision that asked for it. */
struct dedup_given {
    uint64_t first_id;
    struct span row; /* empty: the store has no such row; it is answered as if it held nothing */
};

enum dedup_answer { DEDUP_NEW = 0, DEDUP_FOUND, DEDUP_NEED_ROW };

/* Owns: the caller ends it with dedup_clear. */
void dedup_init(struct dedup *d, const struct dedup_options *options);
void dedup_clear(struct dedup *d);

/* DEDUP_FOUND fills `found`; DEDUP_NEED_ROW the first id of the row to read. Errors: -PARLEY_ERR_CORRUPT when
 * a row that was given is damaged. */
PARLEY_MUST_USE int dedup_find(const struct dedup *d, const struct id16 *fingerprint,
                               const struct dedup_given *given, uint32_t given_count,
                               struct dedup_entry *found, uint64_t *need_first_id);

/* The next entry of a row; fails the reader. */
struct dedup_entry dedup_get_entry(struct bytes_reader *r);

/* Room for one more, so that dedup_add cannot fail. */
PARLEY_MUST_USE int dedup_reserve(struct dedup *d);
/* A decided entry: it is found from now on. */
void dedup_add(struct dedup *d, const struct dedup_entry *entry);
/* A committed entry: marks the one that dedup_add has added, or adds it. Then forgets what the horizon has
 * passed. */
PARLEY_MUST_USE int dedup_apply(struct dedup *d, const struct dedup_entry *entry);

/* The next piece to write, from ordinal `from` (d->stored, then what the piece before says): at most one
 * row's applied entries within one segment. False when there is none. */
struct dedup_piece {
    uint64_t first_id, from, next;
    bool row_is_new;
    uint64_t segment;
    bool segment_whole; /* its filter row has gathered operands enough: put it whole */
};
bool dedup_piece_at(const struct dedup *d, uint64_t from, struct dedup_piece *out);
void dedup_piece_put_row(const struct dedup *d, const struct dedup_piece *piece, struct bytes_writer *w);
void dedup_piece_put_filter(const struct dedup *d, const struct dedup_piece *piece, struct bytes_writer *w);
/* The filter rows of segments [*from, *to) hold nothing that is still known: delete them with the next write. */
void dedup_stale_segments(const struct dedup *d, uint64_t *from, uint64_t *to);
/* Memory that it takes, about. */
size_t dedup_bytes(const struct dedup *d);
/* The bounds as they are now are in the store, and its stale filter rows are gone. */
void dedup_bounds_stored(struct dedup *d);
/* The whole filter row, up to the piece's end; at most DEDUP_SEGMENT_BYTES_MAX. */
void dedup_piece_put_segment(const struct dedup *d, const struct dedup_piece *piece, struct bytes_writer *w);
/* Everything below the ordinal is in the store; entries beyond the newest `keep` may leave memory. */
void dedup_stored(struct dedup *d, uint64_t below, uint32_t keep);

/* Loading: first the bounds, then the filter rows of the segments base / 4096 .. (end - 1) / 4096, in order.
 */
void dedup_put_bounds(const struct dedup *d, struct bytes_writer *w);
PARLEY_MUST_USE int dedup_get_bounds(struct dedup *d, struct bytes_reader *r);
PARLEY_MUST_USE int dedup_load_segment(struct dedup *d, uint64_t segment, struct span row);
/* All segments that the bounds ask for are loaded. */
bool dedup_loaded(const struct dedup *d);

#endif

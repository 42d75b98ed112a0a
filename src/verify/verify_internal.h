/* src/verify/verify_internal.h: what the files of the checker share.
 *
 * Shape:  verify.c (order, opening), verify_log.c (events, replay), verify_receipts.c (what the log says was read),
 *         verify_conversation.c (messages, dedup), verify_members.c (pages, memberships), verify_rows.c (meta, users, rows
 *         of nobody), verify_remedy.c (what can be done, and what it costs), verify_mend.c (repair).
 *         Mending is the same walk with `mending` set, over writable stores: what would be found is written instead.
 */
#ifndef PARLEY_VERIFY_INTERNAL_H
#define PARLEY_VERIFY_INTERNAL_H

#include "src/server/data_folder.h"
#include "src/shard/large_set.h"
#include "src/shard/rows.h"
#include "src/verify/verify.h"
#include "storage/file.h"
#include "storage/log.h"

enum { VERIFY_PATH_BYTES = 4096, VERIFY_WHERE_BYTES = 256 };
/* Nobody gets so far: whoever says so is damaged, and does not drive positions into an overflow. */
#define VERIFY_POSITION_MAX (UINT64_C(1) << 62)

struct verify;

struct verify_turned { /* a conversation that became large, while the log is kept */
    struct id16 conversation;
    uint64_t id;
};

/* The furthest that the log says a member has read and got. */
struct verify_receipt {
    struct id16 conversation, user;
    uint64_t read, delivered; /* delivered 0: a free slot */
};

struct verify_receipts {
    struct verify_receipt *slots;
    uint32_t count, max; /* max: a power of two, or 0 */
};

/* Events of the log that are in it but could not be applied. */
struct verify_skipped {
    uint64_t count, first, last, first_id, last_id;
};

/* Rows that a repair has made again. */
struct verify_mended {
    uint64_t lists, large, filters, offsets, positions;
};

struct verify_shard {
    struct verify *verify;
    uint32_t number;
    int log_verdict;
    char log_dir[VERIFY_PATH_BYTES], store_dir[VERIFY_PATH_BYTES];
    struct log *log; /* NULL: it never began, or has no segment */
    struct log_report log_report;
    uint64_t log_first_id, log_last_id; /* of the events that can be read; 0: there is none */
    bool begins_again;                  /* its log is damaged, or does not fit the store */
    /* It has an event that this version cannot read: no state as of its end, and no repair. */
    bool log_is_foreign;
    bool store_is_gone; /* damaged as a whole, or missing while the log has events */
    bool has_store, store_is_missing;
    bool damaged; /* something of it is, as far as this look has come */
    bool position_unreadable, large_unreadable;
    bool store_failed, has_written;
    uint32_t turned_count;
    char store_text[VERIFY_TEXT_BYTES]; /* why it cannot be opened */
    struct store *store;                /* NULL: there is none, or a repair has closed it */
    struct rows_position position;
    struct objects now;            /* what the log's tail touches, as of the log's end */
    uint64_t *offsets;             /* by source: how far this shard has derived it */
    uint64_t *bounds;              /* by destination: its rows hold what was before the event with this id */
    uint64_t row_position, row_id; /* the highest that any row speaks of */
    uint64_t expected_memberships;
    struct large_set large;
    struct verify_turned *turned;
    struct verify_receipts receipts;
    struct verify_skipped skipped;
    struct store_batch *batch; /* while mending */
    struct verify_mended mended;
    uint64_t batches_out;
    struct verify_counts counts;
};

struct verify {
    struct verify_options options;
    struct verify_report *report;
    struct data_folder folder;
    struct file_layer *files;
    struct verify_shard *shards;
    bool *was_damaged; /* by shard: in any look so far */
    bool mending;
    int error; /* of the way, not of the data: out of memory */
    char *text;
};

struct verify_where {
    char text[VERIFY_WHERE_BYTES];
};

/* "shard-0003/store: messages 2026-11, conversation 00..ff, 123" ; `id` NULL, `number` 0: left out. */
struct verify_where verify_at(const struct verify_shard *s, const char *family, uint32_t month,
                              const struct id16 *id, uint64_t number);
__attribute__((format(printf, 4, 5))) void verify_find(struct verify_shard *s, enum verify_kind kind,
                                                       const char *where, const char *format, ...);
struct hasher verify_hasher(struct verify *v);
struct verify_shard *verify_owner(struct verify *v, const struct id16 *id);
/* A row says this of itself: neither is given again. */
void verify_note(struct verify_shard *s, uint64_t position, uint64_t id);
/* Remembers an error that is none of the data's; true when there is one. */
bool verify_failed(struct verify *v, int err);

/* verify_remedy.c */
const char *verify_remedy_text(const struct verify_shard *s, enum verify_kind kind,
                               char text[VERIFY_TEXT_BYTES]);
/* Its store can be made from its log: from all of it, or from what is good of it. */
bool verify_log_has_all(const struct verify_shard *s);
bool verify_log_has_beginning(const struct verify_shard *s);
/* A repair begins its log again. */
bool verify_can_begin_again(const struct verify_shard *s);
/* Where positions go on when the log begins again: above all that anything speaks of. */
uint64_t verify_begins_at(const struct verify_shard *s);
/* Tells what is not there any more when it does. */
void verify_tell_losses(const struct verify_shard *s, bool done);

/* verify_log.c */
void verify_log_open(struct verify_shard *s);
/* Has it an event that the store needs and that this version cannot read, of a newer one perhaps? */
void verify_log_scout(struct verify_shard *s);
void verify_log_tell(struct verify_shard *s);
void verify_log_ends(struct verify *v); /* against stores and offsets */
void verify_log_events(struct verify_shard *s);

/* verify_receipts.c. Errors: -PARLEY_ERR_NOMEM. */
PARLEY_MUST_USE int verify_receipts_note(struct verify_receipts *receipts, const struct event *event);
/* NULL: the log has none. */
const struct verify_receipt *verify_receipts_find(const struct verify_receipts *receipts,
                                                  const struct id16 *conversation, const struct id16 *user);
void verify_receipts_clear(struct verify_receipts *receipts);

/* verify_rows.c */
void verify_meta(struct verify_shard *s);
void verify_positions(struct verify_shard *s);
void verify_users(struct verify_shard *s);
void verify_orphans(struct verify_shard *s);

/* verify_conversation.c */
void verify_conversations(struct verify_shard *s);

/* verify_members.c. The state as of the log's end. */
void verify_pages(struct verify_shard *s, const struct conversation *now);
void verify_memberships(struct verify_shard *s);
void verify_large_load(struct verify_shard *s);
void verify_large(struct verify_shard *s);

/* verify.c */
PARLEY_MUST_USE int verify_store_open(struct verify_shard *s, bool read_only, char *text, size_t text_len);

/* verify_mend.c. Errors: none of the data's; what was done is told to the report. */
struct store_batch *verify_batch(struct verify_shard *s); /* NULL: out of memory, which is remembered */
void verify_batch_turn(struct verify_shard *s);
/* False when there was nothing that it could do. */
bool verify_mend(struct verify *v);

#endif

/* src/verify/verify_internal.h: what the files of the checker share.
 *
 * Shape:  verify.c (order, opening), verify_log.c (events, replay), verify_conversation.c (messages, dedup),
 *         verify_members.c (pages, memberships), verify_rows.c (meta, users, rows of nobody), verify_mend.c (repair).
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

struct verify;

struct verify_turned { /* a conversation that became large, while the log is kept */
    struct id16 conversation;
    uint64_t id;
};

struct verify_shard {
    struct verify *verify;
    uint32_t number;
    char log_dir[VERIFY_PATH_BYTES], store_dir[VERIFY_PATH_BYTES];
    struct log *log; /* NULL: it never began, or has no segment */
    struct log_report log_report;
    bool begins_again; /* its log is damaged */
    bool store_is_bad; /* it cannot be opened, or is missing while the log has events */
    bool has_store;
    struct store *store; /* NULL: there is none */
    struct rows_position position;
    struct objects now;            /* what the log's tail touches, as of the log's end */
    uint64_t *offsets;             /* by source: how far this shard has derived it */
    uint64_t *bounds;              /* by destination: its rows hold what was before the event with this id */
    uint64_t row_position, row_id; /* the highest that any row speaks of */
    uint64_t expected_memberships;
    struct large_set large;
    struct verify_turned *turned;
    uint32_t turned_count;
    struct store_batch *batch; /* while mending */
    uint64_t batches_out;
    bool store_failed;
    struct verify_counts counts;
};

struct verify {
    struct verify_options options;
    struct verify_report *report;
    struct data_folder folder;
    struct file_layer *files;
    struct verify_shard *shards;
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
/* A row says this of itself. */
void verify_note(struct verify_shard *s, uint64_t position, uint64_t id);
/* Remembers an error that is none of the data's; true when there is one. */
bool verify_failed(struct verify *v, int err);

/* verify_log.c */
void verify_log_open(struct verify_shard *s);
void verify_log_ends(struct verify *v); /* against stores and offsets */
void verify_log_events(struct verify_shard *s);

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
struct store_batch *verify_batch(struct verify_shard *s);
void verify_batch_turn(struct verify_shard *s);
bool verify_can_mend(const struct verify *v);
void verify_mend(struct verify *v);

#endif

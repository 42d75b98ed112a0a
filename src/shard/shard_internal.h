/* src/shard/shard_internal.h: what the files of a shard share.
 *
 * Invariants:
 * 1. A record is appended to the log, shown to the machine (decided) and kept in `pending` in one turn, or none of it.
 * 2. `pending` holds exactly the records at log_end .. log_next; they are applied in order as the end rises.
 * 3. Replay and running apply the same bytes through the same function.
 * 4. A request is answered only when the event that its answer rests on is applied. Ids rise, so `waiting` is released
 *    from its head by the last applied id; a refusal behind a younger event waits a little longer, never less.
 * 5. An object that a decision looked at but no event touched is removed: asking for what is not there costs no memory.
 * 6. Requests of one conversation are served in the order in which they came: what waits for a load holds back the rest.
 * 7. An object that a decided, unapplied record was judged upon stays in memory (busy_until), as does one that is dirty, in
 *    a batch under way, being loaded or waited for. All others may be evicted: the store has them.
 */
#ifndef PARLEY_SHARD_INTERNAL_H
#define PARLEY_SHARD_INTERNAL_H

#include "src/shard/derive.h"
#include "src/shard/objects.h"
#include "src/shard/shard.h"
#include "src/shard/writeback.h"
#include "storage/reader_pool.h"

/* Appended, not yet applied records, one behind the other: position u64, session u64, event count u32, length u32, bytes.
 * The log's two blocks bound it. */
struct pending {
    uint8_t *bytes;
    size_t from, to, room;
};

/* A question to the store that a pool thread answers while the shard goes on. */
struct upkeep {
    struct reader_job job;
    bool busy;
    int err;
    uint64_t next_ms, redo;
};

struct shard {
    struct shard_options options;
    struct log *log;
    struct store *store;
    struct objects objects;
    struct writeback writeback;
    struct derive *derive; /* NULL: none */
    struct snowflake ids;
    uint64_t applied_id, ceiling;
    struct pending pending;
    struct shard_request *waiting, **waiting_tail;
    uint32_t waiting_count; /* for their commit */
    uint32_t queued_count;  /* at their objects */
    uint32_t job_count;     /* in the reader pool */
    uint32_t reading_count; /* of them, of requests */
    struct rate_table user_sends, conversation_sends;
    uint8_t *record;      /* where a record is encoded */
    uint64_t log_written; /* bytes of records applied since the start */
    uint64_t applied_ms, persisted_redo;
    uint64_t wall_ms;     /* the last reading of the wall clock */
    uint64_t expected_ms; /* when the store was last told which month is coming */
    struct upkeep persisted, flush;
    uint64_t loads, loads_from_disk, evictions, flushes;
    uint64_t loads_seen; /* by the eviction */
    bool pressed;        /* by a source of derivation: flush, and say so */
    uint64_t pressed_at; /* as many flushes had ended; so had, when what is persisted was asked for: */
    uint64_t asked_at;
    bool failed, closing;
    bool told_full;   /* in the log */
    bool evict_stuck; /* memory is over its limit, and nothing was free to go */
};

void shard_fail(struct shard *s, int err, const char *what);

/* shard_apply.c */
PARLEY_MUST_USE int shard_pending_reserve(struct shard *s, size_t len);
void shard_pending_put(struct shard *s, uint64_t position, uint64_t session, uint32_t count,
                       struct span record);
/* The log's callbacks. */
void shard_on_durable(void *owner, uint64_t end);
PARLEY_MUST_USE int shard_replay_record(void *owner, uint64_t position, uint32_t count, struct span bytes);
/* Answers when the event is applied. */
void shard_answer(struct shard *s, struct shard_request *request, uint64_t waits_for_id);
void shard_release(struct shard *s, bool all);

/* shard_load.c. Errors: -PARLEY_ERR_AGAIN: it is being loaded, and the conversation's or user's queue will be served
 * again; others refuse the request. */
PARLEY_MUST_USE int shard_need_node(struct shard *s, struct object *node, enum reader_class class);
PARLEY_MUST_USE int shard_need(struct shard *s, const struct machine_key *key, enum reader_class class,
                               struct object **out);
PARLEY_MUST_USE int shard_need_dedup_row(struct shard *s, struct object *conversation, uint64_t first_id,
                                         enum reader_class class);
void shard_forget_given(struct object *conversation);
/* Loads on this thread: a replay may block. */
PARLEY_MUST_USE int shard_need_now(struct shard *s, const struct machine_key *key, struct object **out);
void shard_drop_if_nothing(struct shard *s, struct object *node);

/* shard_serve.c */
void shard_enqueue(struct shard *s, struct object *anchor, struct shard_request *request);
void shard_pump(struct shard *s, struct object *anchor);
struct hasher shard_hasher(struct shard *s);

/* shard_read.c: 0: answered, or the answer is under way; -PARLEY_ERR_AGAIN: something is being loaded. */
PARLEY_MUST_USE int shard_serve_read(struct shard *s, struct object *anchor, struct shard_request *request);
void shard_read_end(struct shard_request *request);
void shard_serve_list(struct shard *s, struct shard_request *request);

/* shard_upkeep.c: write-back, eviction, persisted redo and trimming. */
void shard_write_back(struct shard *s);
/* May wait for the store: in a replay only. -PARLEY_ERR_DISK_FULL, -PARLEY_ERR_IO: it takes nothing. */
PARLEY_MUST_USE int shard_write_back_replayed(struct shard *s);
void shard_evict(struct shard *s);
void shard_trim(struct shard *s);
/* What holds it is to be written back, flushed, and, where it is another shard's, pressed for. */
bool shard_log_is_long(const struct shard *s);
/* 0, or why no command is taken now. */
PARLEY_MUST_USE int shard_pressure(const struct shard *s);
void shard_write_back_all(struct shard *s);

#endif

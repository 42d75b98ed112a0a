/* src/shard/shard.h: the unit of ownership: one commit log, the machine's objects, one store; one writer.
 *
 * Why:    load, decide, append, commit, apply and answer in one place and one order (design, section 3).
 * Shape:  shard_submit -> [queue of the conversation] -> load -> machine_decide -> log_append -> [pending records]
 *         -> durable -> apply -> on_applied -> done; behind it write-back to the store, trimming and eviction.
 *         shard_open replays the log, from the store's redo on, through the same apply.
 * Limits: request_count_max requests; dirty_bytes_max, log_bytes_max and the store's pressure refuse commands with FULL, a
 *         full disk with DISK_FULL; reads go on. New messages above a rate are refused with RATE, a retry never.
 *         memory_bytes_max is what eviction aims at.
 * Thread: the shard's reactor.
 * Errors: 0 or a negative enum parley_err; a request's are in the request.
 */
#ifndef PARLEY_SHARD_SHARD_H
#define PARLEY_SHARD_SHARD_H

#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/shard/rate_table.h"
#include "src/shard/request.h"
#include "storage/log.h"

struct shard;

/* An event that is applied, and who is to hear of it now. Borrowed for the call. */
struct shard_effect {
    const struct event *event;
    const struct conversation *conversation; /* NULL: the event is of none (PROFILE) */
    /* Its members, all pages; none when there are more than MACHINE_FANOUT_PAGES_MAX. */
    const struct page *const *pages;
    uint32_t page_count;
    uint64_t session; /* that asked for it, see struct shard_request */
};

/* Somebody is writing in a conversation of one page. Borrowed for the call. */
struct shard_typing {
    struct id16 conversation, user_hash;
    struct span user;
    const struct page *page;
    uint64_t session; /* whose it is; it does not hear of itself */
};

struct shard_options {
    uint32_t number;
    const char *log_dir;
    struct file_layer *files; /* outlives the shard */
    uint64_t segment_bytes;   /* 0: the log's default */
    bool must_exist;          /* as the log's */
    bool helper_thread;       /* as the log's */
    struct hash_key key;
    const struct clock_source *clock;
    const char *store_dir;
    uint64_t store_cache_bytes, store_write_buffer_bytes, space_guard_bytes; /* 0: the store's defaults */
    struct reader_pool *pool;                                                /* outlives the shard */
    uint32_t reactor;                                                        /* its number in the pool */
    struct machine_limits limits;
    /* Of new messages, in this shard: of one user in its conversations, and in one conversation. A service has none. */
    struct rate user_sends, conversation_sends;
    struct dedup_options dedup;
    uint32_t shard_count; /* of the data folder; 0: no derivation */
    /* Brings a SHARD_DERIVE to its source, and `answered` back here; false when the process is ending. */
    bool (*ask)(void *owner, struct shard_request *request);
    void (*ask_ended)(void *owner); /* one has come home; may be NULL */
    uint64_t memory_bytes_max;      /* of objects */
    uint64_t dirty_bytes_max;       /* of applied events that the store lacks */
    uint32_t batch_bytes;           /* of one write to the store, about; 0: the default */
    uint64_t log_bytes_max;         /* of kept log; at least four segments */
    uint32_t lease_ms;              /* how far ceilings lie ahead of the clock */
    uint32_t request_count_max;     /* waiting for their commit; more are refused with FULL */
    void *owner;
    /* Each event, in order, when it is applied; never of a replay. May not submit. May be NULL. */
    void (*on_applied)(void *owner, const struct shard_effect *effect);
    /* May not submit. May be NULL. */
    void (*on_typing)(void *owner, const struct shard_typing *typing);
    /* Serves a SHARD_PRESENCE at once: its error. May be NULL: there is no such thing. */
    int (*on_presence)(void *owner, struct shard_request *request);
    /* The user, of this shard, is now a member of a large conversation, of any shard. May not submit. May be NULL. */
    void (*on_large_member)(void *owner, const struct id16 *user, const struct id16 *conversation);
    /* From any thread: a turn is wanted, something is done. May be NULL. */
    void (*wake)(void *owner);
    /* From any thread: the log or the store failed, or memory for an apply: nothing is acknowledged any more, end the
     * process. */
    void (*on_fatal)(void *owner, int err, const char *what);
};

/* Recovers and replays; blocks. Owns: on success the caller closes. */
PARLEY_MUST_USE int shard_open(const struct shard_options *options, struct log_report *report,
                               struct shard **out);
/* Commits what is decided, answers what waits (on a failed log: with INTERNAL), writes back what is dirty, closes. The
 * reader pool still runs. */
void shard_close(struct shard **shard);

/* Calls request->done, at once or when what the answer rests on is loaded and applied. */
void shard_submit(struct shard *shard, struct shard_request *request);
/* The process is ending: answers what other shards' derivation has asked, and asks nothing more itself. */
void shard_stop_deriving(struct shard *shard);
/* Once a loop turn, after reader_pool_poll: hands what was decided to the log, writes back, evicts, trims; an idle shard
 * renews its ceiling. */
void shard_turn_end(struct shard *shard);

/* Applied objects in memory, NULL when there is none. They live until the next call that may change them. */
const struct conversation *shard_conversation(const struct shard *shard, const struct id16 *id);
const struct page *shard_page(const struct shard *shard, const struct id16 *conversation, uint32_t number);
uint64_t shard_log_start(const struct shard *shard);
uint64_t shard_log_end(const struct shard *shard);
/* How far it has derived the other's log, or its own; 0: it derives nothing. */
uint64_t shard_derived_to(const struct shard *shard, uint32_t source);
uint64_t shard_applied_id(const struct shard *shard);
uint32_t shard_object_count(const struct shard *shard);
uint32_t shard_waiting_count(const struct shard *shard); /* requests, and reads of the store */

struct shard_counters {
    uint64_t object_bytes, dirty_bytes, dirty_objects, log_bytes, redo, persisted_redo, applied;
    uint64_t loads, loads_from_disk, evictions, batches_written, batch_bytes_written, flushes;
    struct log_counters log;
};
void shard_counters_read(const struct shard *shard, struct shard_counters *out);

#endif

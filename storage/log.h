/* storage/log.h: the commit log of one shard: the truth that everything else is rebuilt from.
 *
 * Why:    an acknowledged event is durable, once, in order. The interface is small because a second
 * implementation (Apache Kafka) follows: nothing outside may assume that the log is local or that positions
 * are offsets. Shape:  append -> [filling block] -> seal -> one durable write in flight -> on_durable(end) ->
 * read Words:  position: an ordered 64-bit place, 1 is the first; event i of a record is at the record's
 * position + i. end: the position after the last durable event. ceiling: no id or announcement of the shard
 * exceeds it until a later block carries a higher one. Thread: append, poll, trim, close: the owner's
 * reactor. read: any thread that may block. Errors: 0 or a negative enum parley_err. A failed write or sync
 * calls on_fatal once and nothing after it.
 */
#ifndef PARLEY_STORAGE_LOG_H
#define PARLEY_STORAGE_LOG_H

#include "src/base/base.h"

enum {
    LOG_RECORD_EVENTS_MAX = 64,
    LOG_BLOCK_ALIGN = 4096,
    LOG_BLOCK_BYTES_MAX = 1 << 20,
    LOG_RECORD_BYTES_MAX = LOG_BLOCK_BYTES_MAX - LOG_BLOCK_ALIGN
};

struct log;
struct file_layer;

struct log_options {
    const char *dir;          /* created when absent */
    struct file_layer *files; /* outlives the log */
    uint64_t segment_bytes;   /* a multiple of 4 KiB, at least 2 blocks; default 64 MiB when 0 */
    uint32_t mark_idle_ms;    /* a mark is written after so long without an append; default 100 when 0 */
    bool must_exist;          /* an empty folder is a lost log: -PARLEY_ERR_LOST */
    bool helper_thread;       /* pre-zero the next segment on a thread; false: inside log_poll (simulation) */
    void *owner;
    void (*on_durable)(void *owner, uint64_t end);
    void (*on_fatal)(void *owner, int err, const char *what);
    /* Asked when a block is sealed; must not fall. */
    uint64_t (*ceiling)(void *owner);
};

/* What a refused start says: file and offset of the damage, and why, in `text`. Of a repaired tail: the same place. */
struct log_report {
    uint64_t start, end, ceiling,
        mark;            /* first kept, after the last durable, highest ceiling, durable mark */
    uint64_t torn_bytes; /* of a torn tail that was repaired */
    char file[256];
    uint64_t offset;
    char text[256];
    /* log_inspect only: the highest that any header or the mark speaks of, damaged or not: what is lost ends here. */
    uint64_t seen_end, seen_ceiling, seen_block, seen_segment;
};

/* Recovers: reads every block, repairs a torn tail, refuses corruption (-PARLEY_ERR_CORRUPT) and an end below
 * the mark (-PARLEY_ERR_LOST). Owns: on success the caller closes. */
PARLEY_MUST_USE int log_open(const struct log_options *options, struct log_report *report, struct log **out);

/* Judges as log_open does, but writes nothing and takes no lock: *verdict is what log_open would answer. The log can be
 * read up to the first damage and takes no append; NULL: there is no segment. Errors: -PARLEY_ERR_IO, -PARLEY_ERR_NOMEM.
 * Owns: the caller closes. */
PARLEY_MUST_USE int log_inspect(const struct log_options *options, struct log_report *report, int *verdict,
                                struct log **out);

/* One record of 1..LOG_RECORD_EVENTS_MAX events; the bytes are copied. Gives the position of its first event.
 * Errors: -PARLEY_ERR_FULL: both blocks are full or no segment is ready: refuse the command, nothing
 * happened. -PARLEY_ERR_DISK_FULL: the same, because no segment can be made. -PARLEY_ERR_TOO_LARGE,
 * -PARLEY_ERR_BAD_REQUEST: never acceptable. -PARLEY_ERR_IO: after on_fatal. */
PARLEY_MUST_USE int log_append(struct log *log, const void *record, size_t len, uint32_t event_count,
                               uint64_t *position);
/* Once per loop turn: seals and submits the filling block when none is in flight, writes the mark when idle.
 */
void log_poll(struct log *log, uint64_t now_ms);
/* Seals even an empty block, to renew the ceiling of an idle shard (TICK). */
PARLEY_MUST_USE int log_tick(struct log *log);

uint64_t log_start(const struct log *log);
uint64_t log_end(const struct log *log);
uint64_t log_next(const struct log *log);    /* the position that the next append is given */
uint64_t log_ceiling(const struct log *log); /* of the last durable block */
uint64_t log_bytes(const struct log *log);   /* of kept segments */
bool log_idle(const struct log *log);        /* nothing is in flight or waits to be written */

/* Since log_open. Block bytes include padding; what is neither padding nor events is headers. */
struct log_counters {
    uint64_t event_bytes, blocks, block_bytes, padding_bytes, mark_bytes;
    uint64_t zeroed_bytes; /* of segments that were made and taken */
};
void log_counters_read(const struct log *log, struct log_counters *out);

/* One record; `data` is valid during the call. A negative answer ends the reading and is returned. */
typedef int log_record_fn(void *owner, uint64_t position, uint32_t event_count, struct span data);
/* Durable records from the one that holds `from` up to `to` (at most log_end when called).
 * Errors: -PARLEY_ERR_LOST: `from` was trimmed, also while reading, or lies behind the end.
 * -PARLEY_ERR_CORRUPT: a checksum failed: nothing bad is served. */
PARLEY_MUST_USE int log_read(struct log *log, uint64_t from, uint64_t to, log_record_fn *fn, void *owner);

/* Forgets whole segments below `below`; never the last block. */
PARLEY_MUST_USE int log_trim(struct log *log, uint64_t below);
/* Waits for the block in flight, seals the rest, writes the mark. */
void log_close(struct log **log);

#endif

/* storage/store.h: where objects rest: one RocksDB per shard, written by its store thread.
 *
 * Why:    rows reflect exactly the events up to the position in the same batch, through any crash.
 * Shape:  reactor builds a batch -> store_submit -> store thread writes in order -> store_poll -> done(owner)
 *         reads: any thread; store_get in tier CACHE does no I/O (-PARLEY_ERR_AGAIN: ask a thread that may block).
 * Facts:  WAL off, atomic_flush on; see docs/architecture.md for the options and the traps behind them.
 * Errors: 0 or a negative enum parley_err.
 * Thread: batches, submit and poll: the shard's reactor; reads: any; what blocks: one that may.
 */
#ifndef PARLEY_STORAGE_STORE_H
#define PARLEY_STORAGE_STORE_H

#include "src/base/base.h"

enum store_family {
    STORE_META,
    STORE_CONVERSATIONS,
    STORE_MEMBERS,
    STORE_USERS,
    STORE_MEMBERSHIPS,
    STORE_FILTERS,
    STORE_FIXED_COUNT,
    STORE_MESSAGES = STORE_FIXED_COUNT, /* monthly from here on */
    STORE_DEDUP,
    STORE_FAMILY_COUNT
};

enum store_tier {
    STORE_ALL,
    STORE_CACHE,    /* memtables and block cache only */
    STORE_PERSISTED /* flushed files only */
};

/* A month is year * 12 + month - 1 of the event id's time; 0 for fixed families. */
struct store_key {
    enum store_family family;
    uint32_t month;
    struct span key;
};

struct store;
struct store_batch;

struct store_options {
    const char *dir;
    uint64_t cache_bytes;        /* this shard's part of the block cache; default 32 MiB when 0 */
    uint64_t write_buffer_bytes; /* of all its memtables; default 64 MiB when 0 */
    uint64_t recovery_max_ms;    /* with room again after a full disk, until on_fatal; default 20 s when 0 */
    uint64_t queue_bytes_max;    /* batches submitted and not yet polled; default 32 MiB when 0 */
    uint64_t space_guard_bytes;  /* STOP when less is free on the disk; max(2 GiB, 5 %) when 0 */
    bool read_only;              /* nothing is written, made or flushed; it takes no batch */
    void *owner;
    /* A read met damage: RocksDB's words, with the file. From the reader's thread. May be NULL. */
    void (*on_damage)(void *owner, const char *text);
    void (*wake)(void *owner);                       /* a batch completed: call store_poll on the reactor */
    void (*on_fatal)(void *owner, const char *what); /* from the store thread: exit and replay */
};

/* -PARLEY_ERR_DISK_FULL: RocksDB writes when it opens. */
PARLEY_MUST_USE int store_open(const struct store_options *options, struct store **out, char *text,
                               size_t text_len);
/* Writes what was submitted, runs the `done`s of what was written, then closes. On a full disk, or after
 * on_fatal, what is not written is forgotten without `done`: the log still has it. What is written is normally
 * flushed, but just after a full disk it may not be: ask the PERSISTED tier. Readers have ended. */
void store_close(struct store **store);

PARLEY_MUST_USE int store_batch_create(struct store *store, struct store_batch **out);
void store_batch_destroy(struct store_batch **batch);
/* A batch that ran out of memory says so when it is submitted. A month's families that are not there yet are
 * created by the store thread, before the batch is written. */
void store_batch_put(struct store_batch *batch, struct store_key at, struct span value);
/* Appends `value` to the row: rows that are merged are sequences of self-delimiting entries. */
void store_batch_append(struct store_batch *batch, struct store_key at, struct span value);
void store_batch_delete(struct store_batch *batch, struct store_key at);
/* Its caller ran out of memory: as if the batch itself had. */
void store_batch_fail(struct store_batch *batch);
size_t store_batch_bytes(const struct store_batch *batch);

typedef void store_done_fn(void *owner);
/* Owns: takes the batch on success, and calls `done` from store_poll when it is written.
 * Errors: -PARLEY_ERR_FULL: more than queue_bytes_max waits: slow down, keep the batch. -PARLEY_ERR_NOMEM:
 * the batch is incomplete: build it again. -PARLEY_ERR_IO: after on_fatal. */
PARLEY_MUST_USE int store_submit(struct store *store, struct store_batch **batch, store_done_fn *done,
                                 void *owner);
/* Reactor: runs `done` of completed batches, in order. */
void store_poll(struct store *store);

/* Owns: the caller frees *value with memory_free. -PARLEY_ERR_NOT_FOUND; -PARLEY_ERR_AGAIN (CACHE only). */
PARLEY_MUST_USE int store_get(struct store *store, struct store_key at, enum store_tier tier, uint8_t **value,
                              size_t *len);
typedef int store_row_fn(void *owner, struct span key, struct span value);
/* Rows whose key is >= `from` and begins with its first `prefix_len` bytes, in key order, until `fn` answers
 * other than 0 (returned when negative). For a monthly family, only that month's rows; no such month is no
 * rows. Blocks: RocksDB 7.8's iterators, kept to its cache, forget a cold block at the border of two files of a level, and
 * neither the row nor the end says so. */
PARLEY_MUST_USE int store_scan(struct store *store, struct store_key from, size_t prefix_len,
                               store_row_fn *fn, void *owner);
/* The same from keys <= `from` downwards. */
PARLEY_MUST_USE int store_scan_back(struct store *store, struct store_key from, size_t prefix_len,
                                    store_row_fn *fn, void *owner);
/* Any thread; cheap. What is written next is of this month or the one after: the store thread makes their families
 * now, so that they are there when the disk is full. */
void store_expect_month(struct store *store, uint32_t month);
/* The months that exist, newest first; answers how many there are. */
size_t store_months(struct store *store, uint32_t *months, size_t max);
/* Drops a month's families for good; readers inside it end in peace. Waits for a write that is under way; a
 * batch of that month that still waits would create it again, so pause write-back first. Blocks. */
PARLEY_MUST_USE int store_drop_month(struct store *store, uint32_t month);
/* Reads every block of every table, past the cache; the first damage of each family goes to on_damage. Blocks. */
PARLEY_MUST_USE int store_read_all(struct store *store);
/* Forces everything written into files; holds up the store thread meanwhile. Blocks. */
PARLEY_MUST_USE int store_flush(struct store *store);
/* A consistent copy in `dir`, which must not exist, by hard links; holds up the store thread. Blocks. */
PARLEY_MUST_USE int store_checkpoint(struct store *store, const char *dir);

enum store_pressure {
    STORE_FINE,
    STORE_SLOW,     /* slow write-back and new work down */
    STORE_STOP,     /* refuse new work before it is logged */
    STORE_DISK_FULL /* the same, because the disk is full or nearly so */
};
/* Any thread; reads two words: the store thread samples RocksDB and the disk ten times a second. */
enum store_pressure store_pressure(const struct store *store);

#endif

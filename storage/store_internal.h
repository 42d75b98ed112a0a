/* storage/store_internal.h: what the files of the store share; nobody else includes it.
 *
 * Shape:  store.c (API and reads), store_options.c, store_space.c, store_families.c (handles), store_thread.c (writes).
 */
#ifndef PARLEY_STORAGE_STORE_INTERNAL_H
#define PARLEY_STORAGE_STORE_INTERNAL_H

#include <limits.h>
#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "storage/store.h"

enum {
    STORE_MONTHLY_COUNT = STORE_FAMILY_COUNT - STORE_FIXED_COUNT,
    STORE_MONTHS_MAX = 256,      /* twenty-one years, or readers that never let go */
    STORE_BATCHES_MAX = 4096,    /* submitted and not yet polled */
    STORE_WRITE_BUFFERS_MAX = 6, /* memtables of one family, full ones included */
    STORE_TEXT_LEN = 256,        /* of an error's description */
    STORE_TIER_COUNT = STORE_PERSISTED + 1
};

#define STORE_MAGIC UINT64_C(0x50524c5953544f52)
#define STORE_BATCH_MAGIC UINT64_C(0x50524c5942415443)

/* One month's families. States and who moves them:
 *
 *   free --families_ensure--> made --publish--> live --store_drop_month--> leaving --last release--> free
 *
 * `used` is false only in `free`; `refs` counts the registry (1, while live) and the readers inside. */
struct store_month {
    atomic_bool used;
    _Atomic uint32_t refs;
    _Atomic uint32_t month; /* 0 unless live */
    uint32_t making;        /* the month that is being made; store thread, under `exclusive` */
    rocksdb_column_family_handle_t *family[STORE_MONTHLY_COUNT];
};

struct store_families {
    rocksdb_column_family_handle_t *empty; /* "default": holds no row, compacted to flush all the others */
    rocksdb_column_family_handle_t *fixed[STORE_FIXED_COUNT];
    struct store_month months[STORE_MONTHS_MAX];
    _Atomic uint32_t months_end; /* slots from here on were never used */
};

struct store_batch {
    uint64_t magic;
    uint8_t *data; /* operations, see store_batch_add */
    size_t len, cap;
    size_t queued_bytes;
    bool failed; /* out of memory */
    store_done_fn *done;
    void *owner;
    struct store_batch *next;
};

struct store_batch_list {
    struct store_batch *head, **tail;
};

struct store_thread {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock; /* of what follows, up to the atomics; held for moments only */
    pthread_cond_t changed;
    struct store_batch_list waiting, written;
    uint32_t batch_count;
    bool closing, failed;
    _Atomic uint64_t queued_bytes;
    atomic_bool disk_full;
    _Atomic int sampled;       /* enum store_pressure */
    _Atomic uint32_t expected; /* month, see store_expect_month */
    uint32_t made;             /* the last of them whose families are there */
    uint64_t sampled_ms, free_bytes;
    enum store_pressure told; /* in the log */
    rocksdb_writebatch_t *scratch;
};

struct store {
    uint64_t magic;
    char dir[PATH_MAX];
    struct store_options options;
    rocksdb_t *db;
    rocksdb_options_t *db_options;
    rocksdb_writeoptions_t *write_options;
    rocksdb_readoptions_t *read_options[STORE_TIER_COUNT];
    pthread_mutex_t exclusive; /* one of: a write, a flush, a checkpoint, a change of the families */
    struct store_families families;
    struct store_thread writer;
};

/* Answers the error of RocksDB's text, copies the text (text may be NULL), and frees and clears it. */
int store_error_take(char **error, char *text, size_t text_len);
bool store_error_is_stall(const char *error);

/* store_options.c */
PARLEY_MUST_USE int store_options_build(struct store *store, char *text, size_t text_len);
void store_options_free(struct store *store);
/* True once when a merge on this thread failed for want of memory: RocksDB calls that a corruption. */
bool store_options_merge_nomem(void);

/* store_space.c */
/* Less is free than the guard wants. */
bool store_space_is_short(const struct store *store, uint64_t *free_bytes);
/* Tries it: a disk may have no room for a file, or for its name, though it says that bytes are free. */
bool store_space_takes_a_file(const struct store *store);
/* 0, or -PARLEY_ERR_DISK_FULL: RocksDB is not to be asked to open or to make a family now. */
PARLEY_MUST_USE int store_space_for_files(const struct store *store, char *text, size_t text_len);

/* store_families.c */
PARLEY_MUST_USE int store_families_open(struct store *store, char *text, size_t text_len);
void store_families_close(struct store *store);
/* Store thread, `exclusive` held. */
PARLEY_MUST_USE int store_families_ensure(struct store *store, uint32_t month, char *text, size_t text_len);
/* The handle for a key; *pin is to be released. NULL when the month does not exist. */
rocksdb_column_family_handle_t *store_families_acquire(struct store *store, const struct store_key *at,
                                                       struct store_month **pin);
void store_families_release(struct store_month *pin);
typedef int store_family_fn(struct store *store, rocksdb_column_family_handle_t *family, void *owner);
/* All live families, until `fn` answers other than 0. */
int store_families_each(struct store *store, store_family_fn *fn, void *owner);

/* store_thread.c */
PARLEY_MUST_USE int store_thread_start(struct store *store);
void store_thread_stop(struct store *store);

#endif

/* The store: batches, reads, flushes and copies. Invariants:
 *
 * 1. Only the store thread writes rows, batch by batch in the order of submission; a batch is in the database
 * whole or not at all, and what a later batch wrote is never there without what an earlier one wrote
 * (atomic_flush, no WAL; rocksdb_flush* would break it and is never called).
 * 2. `done` of a batch runs once, on the reactor, in order, after all of it can be read.
 * 3. A batch that RocksDB refused was not applied; it is tried again unchanged, before any later one, or the
 * store is fatally broken and writes nothing any more.
 * 4. `exclusive` is held by one of: a write, a flush, a checkpoint, a change of the families. Readers and the
 * reactor never take it.
 * 5. A CACHE read does no I/O and answers the whole row or -PARLEY_ERR_AGAIN, never a part. That needs all
 * tables open (max_open_files = -1).
 * 6. The family `default` stays empty: compacting it flushes all others atomically and does nothing else.
 * 7. What was submitted and not yet polled is at most queue_bytes_max (or one batch) and STORE_BATCHES_MAX
 * batches.
 */
#include "storage/store_internal.h"

#include <stdio.h>
#include <string.h>

#include "src/base/bytes.h"
#include "src/base/error.h"
#include "src/base/memory.h"

bool store_error_is_stall(const char *error)
{
    return strstr(error, "Write stall") != NULL;
}

int store_error_take(char **error, char *text, size_t text_len)
{
    if (!*error)
        return 0;
    int err = PARLEY_ERR_INTERNAL;
    if (strstr(*error, "no blocking io"))
        err = PARLEY_ERR_AGAIN;
    else if (strstr(*error, "No space left"))
        err = PARLEY_ERR_DISK_FULL;
    else if (strncmp(*error, "Corruption", 10) == 0)
        err = store_options_merge_nomem() ? PARLEY_ERR_NOMEM : PARLEY_ERR_CORRUPT;
    else if (strncmp(*error, "IO error", 8) == 0)
        err = PARLEY_ERR_IO;
    if (text && text_len)
        snprintf(text, text_len, "%s", *error);
    rocksdb_free(*error);
    *error = NULL;
    return -err;
}

int store_open(const struct store_options *options, struct store **out, char *text, size_t text_len)
{
    char ignored[STORE_TEXT_LEN];
    if (!text || !text_len) {
        text = ignored;
        text_len = sizeof ignored;
    }
    *text = '\0';
    *out = NULL;
    struct store *store = memory_zalloc(sizeof *store);
    if (!store)
        return -PARLEY_ERR_NOMEM;
    store->magic = STORE_MAGIC;
    store->options = *options;
    pthread_mutex_init(&store->exclusive, NULL);
    int err = 0;
    int n = snprintf(store->dir, sizeof store->dir, "%s", options->dir);
    if (n < 0 || (size_t)n >= sizeof store->dir)
        err = -PARLEY_ERR_TOO_LARGE;
    store->options.dir = store->dir;
    if (!err)
        err = store_options_build(store, text, text_len);
    if (!err)
        err = store_families_open(store, text, text_len);
    if (!err && !options->read_only)
        err = store_thread_start(store);
    if (err) {
        if (!*text)
            snprintf(text, text_len, "%s: %s", store->dir, parley_err_text(err));
        store_close(&store);
        return err;
    }
    *out = store;
    return 0;
}

void store_close(struct store **out)
{
    struct store *store = *out;
    if (!store)
        return;
    parley_assert(store->magic == STORE_MAGIC);
    *out = NULL;
    store_thread_stop(store);
    if (store->db) {
        store_families_close(store);
        rocksdb_close(store->db);
    }
    store_options_free(store);
    pthread_mutex_destroy(&store->exclusive);
    store->magic = 0;
    memory_free(store);
}

/* What a read ran into. */
static int read_error(struct store *store, char **error)
{
    char text[STORE_TEXT_LEN];
    int err = store_error_take(error, text, sizeof text);
    if ((err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_IO) && store->options.on_damage)
        store->options.on_damage(store->options.owner, text);
    return err;
}

static int get_copy(const char *data, size_t len, uint8_t **value, size_t *value_len)
{
    uint8_t *copy = memory_alloc(len);
    if (!copy)
        return -PARLEY_ERR_NOMEM;
    if (len)
        memcpy(copy, data, len);
    *value = copy;
    *value_len = len;
    return 0;
}

int store_get(struct store *store, struct store_key at, enum store_tier tier, uint8_t **value, size_t *len)
{
    parley_assert(store->magic == STORE_MAGIC && tier <= STORE_PERSISTED);
    struct store_month *pin;
    rocksdb_column_family_handle_t *family = store_families_acquire(store, &at, &pin);
    if (!family)
        return -PARLEY_ERR_NOT_FOUND;
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(store->db, store->read_options[tier], family,
                                                           (const char *)at.key.data, at.key.len, &error);
    int err = read_error(store, &error);
    if (!err && !slice)
        err = -PARLEY_ERR_NOT_FOUND;
    if (!err) {
        size_t found_len;
        const char *found = rocksdb_pinnableslice_value(slice, &found_len);
        err = get_copy(found, found_len, value, len);
    }
    if (slice)
        rocksdb_pinnableslice_destroy(slice);
    store_families_release(pin);
    return err;
}

/* The first key behind all that begin with `prefix`; its length, 0 when there is none. */
static size_t prefix_end(struct span prefix, uint8_t *end)
{
    size_t len = prefix.len;
    while (len > 0 && prefix.data[len - 1] == 0xff)
        len--;
    if (len == 0)
        return 0;
    memcpy(end, prefix.data, len);
    end[len - 1]++;
    return len;
}

static int scan_rows(struct store *store, rocksdb_iterator_t *it, bool back, store_row_fn *fn, void *owner)
{
    char *error = NULL;
    for (; rocksdb_iter_valid(it); back ? rocksdb_iter_prev(it) : rocksdb_iter_next(it)) {
        size_t key_len, value_len;
        const char *key = rocksdb_iter_key(it, &key_len);
        const char *value = rocksdb_iter_value(it, &value_len);
        struct span key_span = {(const uint8_t *)key, key_len};
        struct span value_span = {(const uint8_t *)value, value_len};
        int answer = fn(owner, key_span, value_span);
        if (answer)
            return answer < 0 ? answer : 0;
    }
    rocksdb_iter_get_error(it, &error);
    return read_error(store, &error);
}

static int scan(struct store *store, struct store_key from, size_t prefix_len, bool back, store_row_fn *fn,
                void *owner)
{
    parley_assert(store->magic == STORE_MAGIC && prefix_len <= from.key.len);
    enum { PREFIX_LEN_EXTRACTED = 16 };
    struct store_month *pin;
    rocksdb_column_family_handle_t *family = store_families_acquire(store, &from, &pin);
    if (!family)
        return 0;
    int err = -PARLEY_ERR_NOMEM;
    uint8_t *end = memory_alloc(prefix_len);
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    if (!end)
        goto out;
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(read, 1);
    if (!back && prefix_len >= PREFIX_LEN_EXTRACTED)
        rocksdb_readoptions_set_prefix_same_as_start(read, 1);
    else
        rocksdb_readoptions_set_total_order_seek(read, 1);
    struct span prefix = {from.key.data, prefix_len};
    size_t end_len = prefix_end(prefix, end);
    /* RocksDB keeps the pointers to the bounds, so they outlive the iterator. */
    if (end_len && !back)
        rocksdb_readoptions_set_iterate_upper_bound(read, (const char *)end, end_len);
    if (prefix_len && back)
        rocksdb_readoptions_set_iterate_lower_bound(read, (const char *)from.key.data, prefix_len);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(store->db, read, family);
    const char *start = from.key.len ? (const char *)from.key.data : "";
    if (back)
        rocksdb_iter_seek_for_prev(it, start, from.key.len);
    else
        rocksdb_iter_seek(it, start, from.key.len);
    err = scan_rows(store, it, back, fn, owner);
    rocksdb_iter_destroy(it);
out:
    rocksdb_readoptions_destroy(read);
    memory_free(end);
    store_families_release(pin);
    return err;
}

int store_scan(struct store *store, struct store_key from, size_t prefix_len, store_row_fn *fn, void *owner)
{
    return scan(store, from, prefix_len, false, fn, owner);
}

int store_scan_back(struct store *store, struct store_key from, size_t prefix_len, store_row_fn *fn,
                    void *owner)
{
    return scan(store, from, prefix_len, true, fn, owner);
}

static int read_family(struct store *store, rocksdb_column_family_handle_t *family, void *owner)
{
    int *first = owner;
    char *error = NULL;
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(read, 1);
    rocksdb_readoptions_set_fill_cache(read, 0);
    rocksdb_readoptions_set_total_order_seek(read, 1);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(store->db, read, family);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it))
        ;
    rocksdb_iter_get_error(it, &error);
    int err = read_error(store, &error);
    *first = *first ? *first : err;
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(read);
    return 0; /* on to the next family */
}

int store_read_all(struct store *store)
{
    int err = 0;
    store_families_each(store, read_family, &err);
    return err;
}

static int has_unflushed(struct store *store, rocksdb_column_family_handle_t *family, void *owner)
{
    (void)owner;
    uint64_t active = 0, full = 0;
    rocksdb_property_int_cf(store->db, family, "rocksdb.num-entries-active-mem-table", &active);
    rocksdb_property_int_cf(store->db, family, "rocksdb.num-entries-imm-mem-tables", &full);
    return active + full > 0;
}

static int flush_locked(struct store *store)
{
    rocksdb_compact_range_cf(store->db, store->families.empty, NULL, 0, NULL, 0);
    /* It reports no error; but no writer is there to refill a memtable. */
    if (!store_families_each(store, has_unflushed, NULL))
        return 0;
    return atomic_load(&store->writer.disk_full) ? -PARLEY_ERR_DISK_FULL : -PARLEY_ERR_IO;
}

int store_flush(struct store *store)
{
    pthread_mutex_lock(&store->exclusive);
    int err = flush_locked(store);
    pthread_mutex_unlock(&store->exclusive);
    return err;
}

int store_checkpoint(struct store *store, const char *dir)
{
    char *error = NULL;
    pthread_mutex_lock(&store->exclusive);
    int err = flush_locked(store);
    if (err)
        goto out;
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(store->db, &error);
    err = store_error_take(&error, NULL, 0);
    if (err)
        goto out;
    rocksdb_checkpoint_create(checkpoint, dir, 0, &error);
    err = store_error_take(&error, NULL, 0);
    rocksdb_checkpoint_object_destroy(checkpoint);
out:
    pthread_mutex_unlock(&store->exclusive);
    return err;
}

/* RocksDB's options: each one is here because of an experiment or a trap; docs/architecture.md tells them. */
#include "storage/store_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

static _Thread_local bool merge_nomem;

bool store_options_merge_nomem(void)
{
    bool was = merge_nomem;
    merge_nomem = false;
    return was;
}

static char *append_all(struct span base, const char *const *parts, const size_t *lens, int count,
                        unsigned char *success, size_t *len)
{
    size_t total = base.len;
    for (int i = 0; i < count; i++)
        total += lens[i];
    char *out = memory_alloc(total);
    *success = out != NULL;
    *len = 0;
    if (!out) {
        merge_nomem = true;
        return NULL;
    }
    size_t at = 0;
    if (base.len)
        memcpy(out, base.data, base.len);
    at = base.len;
    for (int i = 0; i < count; i++) {
        if (lens[i])
            memcpy(out + at, parts[i], lens[i]);
        at += lens[i];
    }
    *len = total;
    return out;
}

static char *append_full(void *state, const char *key, size_t key_len, const char *base, size_t base_len,
                         const char *const *parts, const size_t *lens, int count, unsigned char *success,
                         size_t *len)
{
    (void)state, (void)key, (void)key_len;
    struct span old = {(const uint8_t *)base, base ? base_len : 0};
    return append_all(old, parts, lens, count, success, len);
}

static char *append_partial(void *state, const char *key, size_t key_len, const char *const *parts,
                            const size_t *lens, int count, unsigned char *success, size_t *len)
{
    (void)state, (void)key, (void)key_len;
    struct span none = {NULL, 0};
    char *out = append_all(none, parts, lens, count, success, len);
    merge_nomem = false; /* harmless here: the operands simply stay apart */
    return out;
}

static void append_free(void *state, const char *value, size_t len)
{
    (void)state, (void)len;
    memory_free((void *)(uintptr_t)value);
}

static const char *append_name(void *state)
{
    (void)state;
    return "parley.append";
}

static void append_destroy(void *state)
{
    (void)state;
}

static void set_memory(rocksdb_options_t *o, uint64_t write_buffer_bytes)
{
    rocksdb_options_set_db_write_buffer_size(o, write_buffer_bytes);
    rocksdb_options_set_write_buffer_size(o, write_buffer_bytes / 2);
    rocksdb_options_set_max_write_buffer_number(o, STORE_WRITE_BUFFERS_MAX);
    rocksdb_options_set_level0_file_num_compaction_trigger(o, 4);
    rocksdb_options_set_level0_slowdown_writes_trigger(o, 20);
    rocksdb_options_set_level0_stop_writes_trigger(o, 36);
}

/* RocksDB's own LOG: Debian's build asserts at a line that follows one which found no space. Without lines, only an
 * open and a new family write there, and both look at the space first (store_space.c). */
enum { HEADERS_ONLY = 5 };

static void set_behaviour(rocksdb_options_t *o)
{
    rocksdb_options_set_create_if_missing(o, 1);
    rocksdb_options_set_create_missing_column_families(o, 1);
    /* Without it, families are flushed one by one and a crash leaves rows and position apart. */
    rocksdb_options_set_atomic_flush(o, 1);
    rocksdb_options_set_paranoid_checks(o, 1);
    /* A table that is not open answers a CACHE read with an empty row. */
    rocksdb_options_set_max_open_files(o, -1);
    /* Files of dropped families and old iterators are deleted in the background, not by the last reader. */
    rocksdb_options_set_avoid_unnecessary_blocking_io(o, 1);
    rocksdb_options_set_allow_concurrent_memtable_write(o, 0);
    rocksdb_options_set_enable_write_thread_adaptive_yield(o, 0);
    rocksdb_options_set_stats_dump_period_sec(o, 0);
    rocksdb_options_set_stats_persist_period_sec(o, 0);
    rocksdb_options_set_max_background_jobs(o, 2);
    rocksdb_options_set_compression(o, rocksdb_lz4_compression);
    rocksdb_options_set_info_log_level(o, HEADERS_ONLY);
    rocksdb_options_set_keep_log_file_num(o, 4);
    rocksdb_options_set_prefix_extractor(o, rocksdb_slicetransform_create_fixed_prefix(16));
    rocksdb_options_set_merge_operator(o, rocksdb_mergeoperator_create(NULL, append_destroy, append_full,
                                                                       append_partial, append_free,
                                                                       append_name));
}

static int set_tables(struct store *store, char *text, size_t text_len)
{
    /* The C interface has no setters for some of these; a copy of the options shares the block cache. */
    char table[512];
    int n = snprintf(table, sizeof table,
                     "block_based_table_factory={block_size=16384;max_auto_readahead_size=0;"
                     "prepopulate_block_cache=kFlushOnly;filter_policy=bloomfilter:10:false;"
                     "format_version=5;optimize_filters_for_memory=true;"
                     "data_block_index_type=kDataBlockBinaryAndHash;"
                     "cache_index_and_filter_blocks=false;block_cache=%" PRIu64 "}",
                     store->options.cache_bytes);
    parley_assert(n > 0 && (size_t)n < sizeof table);
    rocksdb_options_t *base = rocksdb_options_create();
    char *error = NULL;
    rocksdb_get_options_from_string(base, table, store->db_options, &error);
    rocksdb_options_destroy(base);
    return store_error_take(&error, text, text_len);
}

int store_options_build(struct store *store, char *text, size_t text_len)
{
    struct store_options *options = &store->options;
    if (!options->cache_bytes)
        options->cache_bytes = UINT64_C(32) << 20;
    if (!options->recovery_max_ms)
        options->recovery_max_ms = 20000; /* RocksDB looks for room every five seconds */
    if (!options->write_buffer_bytes)
        options->write_buffer_bytes = UINT64_C(64) << 20;
    if (!options->queue_bytes_max)
        options->queue_bytes_max = UINT64_C(32) << 20;

    store->db_options = rocksdb_options_create();
    int err = set_tables(store, text, text_len);
    if (err)
        return err;
    set_memory(store->db_options, options->write_buffer_bytes);
    set_behaviour(store->db_options);

    store->write_options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(store->write_options, 1);
    rocksdb_writeoptions_set_no_slowdown(store->write_options, 1);
    for (int tier = 0; tier < STORE_TIER_COUNT; tier++) {
        _Static_assert(STORE_ALL == 0 && STORE_CACHE == 1 && STORE_PERSISTED == 2, "RocksDB's ReadTier");
        store->read_options[tier] = rocksdb_readoptions_create();
        rocksdb_readoptions_set_read_tier(store->read_options[tier], tier);
    }
    return 0;
}

void store_options_free(struct store *store)
{
    for (int tier = 0; tier < STORE_TIER_COUNT; tier++)
        if (store->read_options[tier])
            rocksdb_readoptions_destroy(store->read_options[tier]);
    if (store->write_options)
        rocksdb_writeoptions_destroy(store->write_options);
    if (store->db_options)
        rocksdb_options_destroy(store->db_options);
}

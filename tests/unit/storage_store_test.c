/* The store on real RocksDB: tiers, months, limits, flush, copies, and kills. */
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/store.h"

enum {
    NOVEMBER = 2026 * 12 + 10,
    DECEMBER = NOVEMBER + 1,
    ENTRY_LEN = 100,
    KILL_ROUNDS = 10,
    FATAL_STATUS = 70,
    KILL_ROWS = 200
};

static const char *self; /* this program, to run it as the child that is killed */

struct bench {
    char root[64], dir[96];
    struct store *store;
    struct store_options options;
    atomic_int wakes;
    int done_count, done_order[64];
    bool mounted;
};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static void on_wake(void *owner)
{
    struct bench *b = owner;
    atomic_fetch_add(&b->wakes, 1);
}

static void on_fatal(void *owner, const char *what)
{
    (void)owner;
    fprintf(stderr, "fatal: %s\n", what);
    _exit(FATAL_STATUS);
}

static void bench_open(struct bench *b)
{
    char text[256];
    b->options.dir = b->dir;
    b->options.owner = b;
    b->options.wake = on_wake;
    b->options.on_fatal = on_fatal;
    if (!b->options.space_guard_bytes)
        b->options.space_guard_bytes = 1;
    int err = store_open(&b->options, &b->store, text, sizeof text);
    if (err)
        fail_msg("open: %s: %s", parley_err_code(err), text);
}

static int setup(void **state)
{
    struct bench *b = memory_zalloc(sizeof *b);
    if (!b)
        return 1;
    strcpy(b->root, "/tmp/parley-store-XXXXXX");
    if (!mkdtemp(b->root))
        return 1;
    snprintf(b->dir, sizeof b->dir, "%s/db", b->root);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    store_close(&b->store);
    if (b->mounted)
        umount2(b->root, MNT_DETACH);
    nftw(b->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    memory_free(b);
    return 0;
}

static void reopen(struct bench *b)
{
    store_close(&b->store);
    bench_open(b);
}

static struct span text_span(const char *text)
{
    struct span s = {(const uint8_t *)text, strlen(text)};
    return s;
}

static struct store_key fixed_key(enum store_family family, const char *key)
{
    struct store_key at = {family, 0, text_span(key)};
    return at;
}

/* Conversation `c`, chunk `n`: 24 bytes as the design's keys are. */
static struct store_key chunk_key(uint8_t key[24], uint32_t month, uint8_t c, uint8_t n)
{
    memset(key, 0, 24);
    key[15] = c;
    key[23] = n;
    struct store_key at = {STORE_MESSAGES, month, {key, 24}};
    return at;
}

static struct store_batch *batch_new(struct bench *b)
{
    struct store_batch *batch;
    assert_int_equal(store_batch_create(b->store, &batch), 0);
    return batch;
}

static void count_done(void *owner)
{
    struct bench *b = owner;
    b->done_count++;
}

static void write_now(struct bench *b, struct store_batch *batch)
{
    int before = b->done_count;
    assert_int_equal(store_submit(b->store, &batch, count_done, b), 0);
    assert_null(batch);
    for (int i = 0; b->done_count == before && i < 100000; i++) {
        store_poll(b->store);
        usleep(b->done_count == before ? 100 : 0);
    }
    assert_int_equal(b->done_count, before + 1);
}

static void put_now(struct bench *b, struct store_key at, struct span value)
{
    struct store_batch *batch = batch_new(b);
    store_batch_put(batch, at, value);
    write_now(b, batch);
}

static void assert_row(struct bench *b, struct store_key at, enum store_tier tier, const char *want)
{
    uint8_t *value = NULL;
    size_t len = 0;
    int err = store_get(b->store, at, tier, &value, &len);
    if (!want) {
        assert_int_equal(err, -PARLEY_ERR_NOT_FOUND);
        return;
    }
    assert_int_equal(err, 0);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(value, want, len);
    memory_free(value);
}

struct seen {
    int count, stop_at, answer;
    uint8_t keys[64][24];
};

static int see_row(void *owner, struct span key, struct span value)
{
    struct seen *seen = owner;
    (void)value;
    assert_true(seen->count < 64 && key.len <= 24);
    memcpy(seen->keys[seen->count++], key.data, key.len);
    return seen->count == seen->stop_at ? seen->answer : 0;
}

static void rows_are_put_appended_and_deleted(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    struct store_key meta = fixed_key(STORE_META, "redo"), user = fixed_key(STORE_USERS, "0123456789abcdef");
    struct store_batch *batch = batch_new(b);
    store_batch_put(batch, meta, text_span("one"));
    store_batch_append(batch, meta, text_span("two"));
    store_batch_append(batch, user, text_span("a"));
    store_batch_append(batch, user, text_span("b"));
    assert_true(store_batch_bytes(batch) > 20);
    write_now(b, batch);
    assert_row(b, meta, STORE_ALL, "onetwo");
    assert_row(b, user, STORE_ALL, "ab");
    batch = batch_new(b);
    store_batch_delete(batch, meta);
    store_batch_put(batch, user, text_span(""));
    write_now(b, batch);
    assert_row(b, meta, STORE_ALL, NULL);
    assert_row(b, user, STORE_ALL, "");
    assert_true(atomic_load(&b->wakes) > 0);
    assert_row(b, fixed_key(STORE_CONVERSATIONS, "absent"), STORE_ALL, NULL);
    uint8_t key[24];
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_ALL, NULL); /* no such month */
}

static void scans_keep_order_and_prefix_and_month(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    uint8_t key[24];
    struct store_batch *batch = batch_new(b);
    for (int n = 9; n > 0; n--)
        for (int c = 1; c <= 3; c++)
            store_batch_put(
                batch, chunk_key(key, n % 2 ? NOVEMBER : DECEMBER, (uint8_t)(c == 3 ? 0xff : c), (uint8_t)n),
                text_span("x"));
    write_now(b, batch);
    for (int flushed = 0; flushed < 2; flushed++) {
        struct seen seen = {0};
        assert_int_equal(store_scan(b->store, chunk_key(key, NOVEMBER, 2, 3), 16, see_row, &seen), 0);
        assert_int_equal(seen.count, 4); /* 3 5 7 9 */
        for (int i = 0; i < 4; i++) {
            assert_int_equal(seen.keys[i][15], 2);
            assert_int_equal(seen.keys[i][23], 3 + 2 * i);
        }
        seen = (struct seen){0}; /* a prefix that ends in 0xff */
        assert_int_equal(store_scan(b->store, chunk_key(key, DECEMBER, 0xff, 0), 16, see_row, &seen), 0);
        assert_int_equal(seen.count, 4); /* 2 4 6 8 */
        seen = (struct seen){0};         /* across conversations, from the middle */
        assert_int_equal(store_scan(b->store, chunk_key(key, NOVEMBER, 1, 9), 0, see_row, &seen), 0);
        assert_int_equal(seen.count, 1 + 5 + 5);
        seen = (struct seen){.stop_at = 2, .answer = -PARLEY_ERR_LIMIT};
        assert_int_equal(store_scan(b->store, chunk_key(key, NOVEMBER, 1, 0), 16, see_row, &seen),
                         -PARLEY_ERR_LIMIT);
        assert_int_equal(seen.count, 2);
        seen = (struct seen){.stop_at = 3, .answer = 1};
        assert_int_equal(store_scan(b->store, chunk_key(key, NOVEMBER, 1, 0), 16, see_row, &seen), 0);
        assert_int_equal(seen.count, 3);
        seen = (struct seen){0}; /* no such month */
        assert_int_equal(store_scan(b->store, chunk_key(key, DECEMBER + 1, 1, 0), 16, see_row, &seen), 0);
        assert_int_equal(seen.count, 0);
        assert_int_equal(store_flush(b->store), 0);
    }
}

static void a_cold_row_answers_again_and_never_a_part(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    uint8_t key[24];
    put_now(b, chunk_key(key, NOVEMBER, 1, 1), text_span("base"));
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_CACHE, "base");
    assert_int_equal(store_flush(b->store), 0);
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_CACHE, "base"); /* flushed into the cache */
    reopen(b);
    struct store_batch *batch = batch_new(b);
    store_batch_append(batch, chunk_key(key, NOVEMBER, 1, 1), text_span("+more"));
    write_now(b, batch);
    uint8_t *value = NULL;
    size_t len;
    assert_int_equal(store_get(b->store, chunk_key(key, NOVEMBER, 1, 1), STORE_CACHE, &value, &len),
                     -PARLEY_ERR_AGAIN);
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_ALL, "base+more");
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_CACHE, "base+more"); /* now it is warm */
}

static void the_persisted_tier_sees_files_only(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    struct store_key at = fixed_key(STORE_META, "position");
    put_now(b, at, text_span("1"));
    assert_row(b, at, STORE_PERSISTED, NULL);
    assert_int_equal(store_flush(b->store), 0);
    assert_row(b, at, STORE_PERSISTED, "1");
    put_now(b, at, text_span("2"));
    assert_row(b, at, STORE_PERSISTED, "1");
    assert_row(b, at, STORE_ALL, "2");
    /* No WAL: a close writes what is in memory, too. */
    reopen(b);
    assert_row(b, at, STORE_PERSISTED, "2");
}

static void months_come_and_go_live(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    uint8_t key[24];
    uint32_t months[8];
    assert_int_equal(store_months(b->store, months, 8), 0);
    put_now(b, chunk_key(key, DECEMBER, 1, 1), text_span("d"));
    put_now(b, chunk_key(key, NOVEMBER, 1, 1), text_span("n"));
    assert_int_equal(store_months(b->store, months, 8), 2);
    assert_int_equal(months[0], DECEMBER);
    assert_int_equal(months[1], NOVEMBER);
    reopen(b);
    assert_int_equal(store_months(b->store, months, 1), 2);
    assert_int_equal(months[0], DECEMBER);
    assert_int_equal(store_drop_month(b->store, NOVEMBER), 0);
    assert_int_equal(store_drop_month(b->store, NOVEMBER), -PARLEY_ERR_NOT_FOUND);
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_ALL, NULL);
    assert_row(b, chunk_key(key, DECEMBER, 1, 1), STORE_ALL, "d");
    put_now(b, chunk_key(key, NOVEMBER, 1, 2), text_span("again")); /* made anew, and empty */
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_ALL, NULL);
    reopen(b);
    assert_row(b, chunk_key(key, NOVEMBER, 1, 2), STORE_ALL, "again");
    assert_int_equal(store_months(b->store, months, 8), 2);
}

struct reader {
    struct bench *b;
    atomic_bool stop;
    uint64_t reads;
    bool odd; /* saw what never was */
};

static int odd_row(void *owner, struct span key, struct span value)
{
    struct reader *reader = owner;
    if (key.len != 24 || value.len != 5 || memcmp(value.data, "value", 5) != 0)
        reader->odd = true;
    return 0;
}

static void *read_on(void *arg)
{
    struct reader *reader = arg;
    uint8_t key[24];
    while (!atomic_load(&reader->stop)) {
        for (uint32_t m = 0; m < 4; m++) {
            uint8_t *value;
            size_t len;
            int err =
                store_get(reader->b->store, chunk_key(key, NOVEMBER + m, 1, 1), STORE_ALL, &value, &len);
            if (!err) {
                reader->odd = reader->odd || len != 5 || memcmp(value, "value", 5) != 0;
                memory_free(value);
            } else if (err != -PARLEY_ERR_NOT_FOUND) {
                reader->odd = true;
            }
            if (store_scan(reader->b->store, chunk_key(key, NOVEMBER + m, 1, 0), 16, odd_row, reader))
                reader->odd = true;
            reader->reads++;
        }
    }
    return NULL;
}

static void readers_stay_inside_while_months_are_dropped_and_flushed(void **state)
{
    struct bench *b = *state;
    b->options.write_buffer_bytes = 1 << 20;
    bench_open(b);
    struct reader readers[3] = {{.b = b}, {.b = b}, {.b = b}};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    uint8_t key[24];
    for (uint32_t round = 0; round < 40; round++) {
        uint32_t month = NOVEMBER + round % 4;
        struct store_batch *batch = batch_new(b);
        for (uint8_t n = 1; n < 20; n++)
            store_batch_put(batch, chunk_key(key, month, 1, n), text_span("value"));
        write_now(b, batch);
        if (round % 3 == 0)
            assert_int_equal(store_flush(b->store), 0);
        if (round >= 2)
            assert_int_equal(store_drop_month(b->store, NOVEMBER + (round - 2) % 4), 0);
    }
    for (int i = 0; i < 3; i++) {
        atomic_store(&readers[i].stop, true);
        pthread_join(threads[i], NULL);
        assert_false(readers[i].odd);
        assert_true(readers[i].reads > 0);
    }
}

static void a_full_queue_refuses_and_keeps_the_batch(void **state)
{
    struct bench *b = *state;
    b->options.queue_bytes_max = 1000;
    bench_open(b);
    char big[800];
    struct span value = {(const uint8_t *)big, sizeof big};
    memset(big, 'b', sizeof big);
    assert_int_equal(store_pressure(b->store), STORE_FINE);
    struct store_batch *first = batch_new(b), *second = batch_new(b);
    store_batch_put(first, fixed_key(STORE_META, "1"), value);
    store_batch_put(second, fixed_key(STORE_META, "2"), value);
    store_batch_put(second, fixed_key(STORE_META, "3"), value); /* larger than the queue: goes alone */
    assert_int_equal(store_submit(b->store, &first, count_done, b), 0);
    assert_int_equal(store_pressure(b->store), STORE_SLOW);
    assert_int_equal(store_submit(b->store, &second, count_done, b), -PARLEY_ERR_FULL);
    assert_non_null(second);
    for (int i = 0; b->done_count == 0 && i < 10000; i++) {
        usleep(100);
        store_poll(b->store);
    }
    assert_int_equal(store_submit(b->store, &second, count_done, b), 0);
    assert_int_equal(store_pressure(b->store), STORE_STOP);
    store_close(&b->store); /* writes it, and says so */
    assert_int_equal(b->done_count, 2);
    bench_open(b);
    uint8_t *found;
    size_t len;
    assert_int_equal(store_get(b->store, fixed_key(STORE_META, "3"), STORE_ALL, &found, &len), 0);
    memory_free(found);
}

static void a_disk_with_too_little_space_means_stop(void **state)
{
    struct bench *b = *state;
    b->options.space_guard_bytes = UINT64_MAX;
    bench_open(b);
    assert_int_equal(store_pressure(b->store), STORE_DISK_FULL);
    put_now(b, fixed_key(STORE_META, "k"), text_span("v")); /* what was logged is still written */
}

struct order {
    struct bench *b;
    int number;
};

static void note_order(void *owner)
{
    struct order *order = owner;
    order->b->done_order[order->b->done_count++] = order->number;
}

static void batches_complete_in_order_through_stalls(void **state)
{
    struct bench *b = *state;
    b->options.write_buffer_bytes = 128 << 10; /* so that memtables fill faster than they are flushed */
    bench_open(b);
    struct order orders[64];
    static char big[64 << 10];
    memset(big, 'x', sizeof big);
    struct span value = {(const uint8_t *)big, sizeof big};
    uint8_t key[24];
    for (int i = 0; i < 64; i++) {
        orders[i] = (struct order){b, i};
        struct store_batch *batch = batch_new(b);
        for (uint8_t n = 0; n < 4; n++)
            store_batch_append(batch, chunk_key(key, NOVEMBER, (uint8_t)i, n), value);
        store_batch_put(batch, fixed_key(STORE_META, "position"), (struct span){(uint8_t *)&i, sizeof i});
        assert_int_equal(store_submit(b->store, &batch, note_order, &orders[i]), 0);
    }
    store_close(&b->store);
    assert_int_equal(b->done_count, 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(b->done_order[i], i);
    bench_open(b);
    struct seen seen = {.stop_at = 60};
    assert_int_equal(store_scan(b->store, chunk_key(key, NOVEMBER, 63, 0), 16, see_row, &seen), 0);
    assert_int_equal(seen.count, 4);
}

static void a_checkpoint_opens_and_equals(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    uint8_t key[24];
    put_now(b, chunk_key(key, NOVEMBER, 1, 1), text_span("first"));
    put_now(b, fixed_key(STORE_META, "position"), text_span("1"));
    char copy[80];
    snprintf(copy, sizeof copy, "%s/copy", b->root);
    assert_int_equal(store_checkpoint(b->store, copy), 0);
    assert_true(store_checkpoint(b->store, copy) < 0); /* it exists */
    put_now(b, fixed_key(STORE_META, "position"), text_span("2"));
    struct bench other = {0};
    snprintf(other.dir, sizeof other.dir, "%s", copy);
    bench_open(&other);
    assert_row(&other, chunk_key(key, NOVEMBER, 1, 1), STORE_ALL, "first");
    assert_row(&other, fixed_key(STORE_META, "position"), STORE_ALL, "1");
    assert_row(b, fixed_key(STORE_META, "position"), STORE_ALL, "2");
    store_close(&other.store);
}

static void a_folder_that_lost_its_head_is_refused(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    put_now(b, fixed_key(STORE_META, "k"), text_span("v"));
    store_close(&b->store);
    char path[112], text[256];
    snprintf(path, sizeof path, "%s/CURRENT", b->dir);
    assert_int_equal(remove(path), 0);
    assert_int_equal(store_open(&b->options, &b->store, text, sizeof text), -PARLEY_ERR_CORRUPT);
    assert_null(b->store);
    assert_non_null(strstr(text, "CURRENT"));
}

/* Writes 200 KB at a time until the store says stop, or `max` batches. Answers how many were submitted. */
static int write_until_stop(struct bench *b, int max)
{
    static uint8_t noise[50000];
    unsigned seed = 1;
    uint8_t key[24];
    int count = 0;
    while (count < max && store_pressure(b->store) < STORE_STOP) {
        for (size_t i = 0; i < sizeof noise; i++)
            noise[i] = (uint8_t)rand_r(&seed); /* so that it does not compress */
        struct store_batch *batch = batch_new(b);
        for (uint8_t n = 0; n < 4; n++)
            store_batch_put(batch, chunk_key(key, NOVEMBER, (uint8_t)count, n),
                            (struct span){noise, sizeof noise});
        store_batch_put(batch, fixed_key(STORE_META, "position"),
                        (struct span){(uint8_t *)&count, sizeof count});
        int err = store_submit(b->store, &batch, count_done, b);
        store_batch_destroy(&batch);
        count += !err;
        if (err && err != -PARLEY_ERR_FULL)
            break;
        usleep(2000);
        store_poll(b->store);
    }
    return count;
}

static void a_full_disk_means_stop_and_then_goes_on(void **state)
{
    struct bench *b = *state;
    if (mount("parley", b->root, "tmpfs", 0, "size=24m") != 0)
        skip(); /* not allowed to mount */
    char ballast[96];
    snprintf(ballast, sizeof ballast, "%s/ballast", b->root);
    int fd = open(ballast, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int full = fd < 0 ? errno : posix_fallocate(fd, 0, 16 << 20);
    close(fd);
    b->options.write_buffer_bytes = 1 << 20;
    bench_open(b);
    int count = write_until_stop(b, 200);
    enum store_pressure before = store_pressure(b->store);
    bool freed = unlink(ballast) == 0;
    for (int i = 0; (b->done_count < count || store_pressure(b->store) >= STORE_STOP) && i < 20000; i++) {
        usleep(1000);
        store_poll(b->store);
    }
    int done = b->done_count, after = (int)store_pressure(b->store);
    int flushed = store_flush(b->store);
    for (int i = 0; flushed && i < 100; i++) { /* RocksDB may still be recovering */
        usleep(100000);
        flushed = store_flush(b->store);
    }
    reopen(b);
    uint8_t *value = NULL;
    size_t len = 0;
    int last = 0, err = store_get(b->store, fixed_key(STORE_META, "position"), STORE_ALL, &value, &len);
    if (!err && len == sizeof last)
        memcpy(&last, value, len);
    memory_free(value);
    /* Once more full: a close gives up instead of waiting for ever. The log has what it forgets. */
    fd = open(ballast, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    int refull = fd < 0 ? errno : posix_fallocate(fd, 0, 8 << 20);
    close(fd);
    (void)write_until_stop(b, 200);
    enum store_pressure at_close = store_pressure(b->store);
    store_close(&b->store);
    umount2(b->root, MNT_DETACH);
    assert_int_equal(full, 0);
    assert_int_equal(refull, 0);
    assert_int_equal(at_close, STORE_DISK_FULL);
    assert_true(count > 10 && count < 200);
    assert_int_equal(before, STORE_DISK_FULL);
    assert_true(freed);
    assert_int_equal(done, count);
    assert_int_equal(flushed, 0);
    assert_true(after != STORE_STOP);
    assert_int_equal(last, count - 1);
}

/* A disk of its own for the bench's folder, until the teardown; false: not allowed to mount. */
static bool disk_mount(struct bench *b)
{
    b->mounted = mount("parley", b->root, "tmpfs", 0, "size=64m") == 0;
    return b->mounted;
}

/* Not a byte is left. */
static void disk_fill(struct bench *b)
{
    static const uint8_t bytes[64 << 10];
    char path[96];
    snprintf(path, sizeof path, "%s/ballast", b->root);
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    for (size_t len = sizeof bytes; len > 0;)
        if (write(fd, bytes, len) <= 0)
            len /= 2;
    close(fd);
}

static void disk_free(struct bench *b)
{
    char path[96];
    snprintf(path, sizeof path, "%s/ballast", b->root);
    assert_int_equal(unlink(path), 0);
}

static void wait_until(struct bench *b, bool (*true_of)(struct bench *b))
{
    for (int i = 0; !true_of(b) && i < 30000; i++) {
        usleep(1000);
        store_poll(b->store);
    }
    assert_true(true_of(b));
}

static bool is_full(struct bench *b)
{
    return store_pressure(b->store) == STORE_DISK_FULL;
}

static bool is_fine(struct bench *b)
{
    return store_pressure(b->store) == STORE_FINE;
}

static bool has_three_months(struct bench *b)
{
    return store_months(b->store, NULL, 0) == 3;
}

static bool has_written_three(struct bench *b)
{
    return b->done_count == 3;
}

static bool is_flushed(struct bench *b)
{
    return store_flush(b->store) == 0;
}

static void submit_row(struct bench *b, uint32_t month, uint8_t n)
{
    uint8_t key[24];
    struct store_batch *batch = batch_new(b);
    store_batch_put(batch, chunk_key(key, month, 1, n), text_span("row"));
    assert_int_equal(store_submit(b->store, &batch, count_done, b), 0);
}

static void without_a_free_byte_months_wait_and_flushes_fail_and_all_goes_on(void **state)
{
    struct bench *b = *state;
    uint8_t key[24];
    if (!disk_mount(b))
        skip();
    bench_open(b);
    submit_row(b, NOVEMBER - 1, 1);
    store_expect_month(b->store, NOVEMBER);
    wait_until(b, has_three_months); /* this one, and the next before it is wanted */
    disk_fill(b);
    submit_row(b, NOVEMBER, 1);
    submit_row(b, DECEMBER, 1);
    submit_row(b, DECEMBER + 1, 1); /* nobody expected it */
    wait_until(b, is_full);
    wait_until(b, has_written_three); /* memory has room */
    for (int i = 0; i < 5; i++) {
        assert_true(store_flush(b->store) < 0);
        usleep(100000);
        store_poll(b->store);
    }
    assert_int_equal(b->done_count, 3);
    assert_row(b, chunk_key(key, DECEMBER, 1, 1), STORE_CACHE, "row");
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_PERSISTED, NULL);
    disk_free(b);
    wait_until(b, is_fine);
    wait_until(b, is_flushed);
    reopen(b);
    for (uint32_t month = NOVEMBER - 1; month <= DECEMBER + 1; month++)
        assert_row(b, chunk_key(key, month, 1, 1), STORE_PERSISTED, "row");
}

static void a_disk_without_a_free_byte_is_no_place_to_open(void **state)
{
    struct bench *b = *state;
    char text[256];
    uint8_t key[24];
    if (!disk_mount(b))
        skip();
    bench_open(b);
    put_now(b, chunk_key(key, NOVEMBER, 1, 1), text_span("row"));
    assert_int_equal(store_flush(b->store), 0);
    store_close(&b->store);
    disk_fill(b);
    assert_int_equal(store_open(&b->options, &b->store, text, sizeof text), -PARLEY_ERR_DISK_FULL);
    assert_non_null(strstr(text, "bytes free"));
    disk_free(b);
    bench_open(b);
    assert_row(b, chunk_key(key, NOVEMBER, 1, 1), STORE_ALL, "row");
}

static atomic_int fatals;

static void count_fatal(void *owner, const char *what)
{
    (void)owner;
    if (*what)
        atomic_fetch_add(&fatals, 1);
}

static void a_folder_that_vanishes_is_fatal_once(void **state)
{
    struct bench *b = *state;
    char text[256], gone[96];
    b->options.write_buffer_bytes = 256 << 10;
    bench_open(b);
    store_close(&b->store);
    b->options.on_fatal = count_fatal;
    assert_int_equal(store_open(&b->options, &b->store, text, sizeof text), 0);
    snprintf(gone, sizeof gone, "%s/gone", b->root);
    assert_int_equal(rename(b->dir, gone), 0);
    int fd = open(b->dir, O_CREAT | O_WRONLY | O_CLOEXEC, 0600); /* or RocksDB makes the folder anew */
    assert_true(fd >= 0);
    close(fd);
    int count = write_until_stop(b, 200);
    assert_true(count > 0 && count < 200);
    for (int i = 0; atomic_load(&fatals) == 0 && i < 10000; i++)
        usleep(1000);
    assert_int_equal(store_pressure(b->store), STORE_STOP);
    struct store_batch *batch = batch_new(b);
    store_batch_put(batch, fixed_key(STORE_META, "k"), text_span("v"));
    assert_int_equal(store_submit(b->store, &batch, count_done, b), -PARLEY_ERR_IO);
    store_batch_destroy(&batch);
    store_close(&b->store);
    assert_int_equal(atomic_load(&fatals), 1);
}

static int use_store(struct bench *b)
{
    struct store_batch *batch = NULL;
    uint8_t *value = NULL, key[24];
    size_t len;
    struct seen seen = {0};
    char text[256];
    int err = store_open(&b->options, &b->store, text, sizeof text);
    if (!err)
        err = store_batch_create(b->store, &batch);
    if (!err) {
        store_batch_append(batch, fixed_key(STORE_META, "k"), text_span("v"));
        err = store_submit(b->store, &batch, NULL, NULL);
    }
    if (!err) {
        err = store_get(b->store, fixed_key(STORE_META, "old"), STORE_ALL, &value, &len);
        memory_free(value);
    }
    if (!err)
        err = store_scan(b->store, chunk_key(key, NOVEMBER, 1, 0), 16, see_row, &seen);
    store_batch_destroy(&batch);
    store_close(&b->store);
    return err;
}

static void each_failed_allocation_is_an_error_and_nothing_else(void **state)
{
    struct bench *b = *state;
    bench_open(b);
    uint8_t key[24];
    struct store_batch *batch = batch_new(b);
    store_batch_append(batch, fixed_key(STORE_META, "old"), text_span("a"));
    store_batch_append(batch, fixed_key(STORE_META, "old"), text_span("b"));
    store_batch_append(batch, chunk_key(key, NOVEMBER, 1, 1), text_span("a"));
    store_batch_append(batch, chunk_key(key, NOVEMBER, 1, 1), text_span("b"));
    write_now(b, batch);
    store_close(&b->store);
    for (uint64_t n = 0;; n++) {
        memory_fail_after(n, 1);
        int err = use_store(b);
        memory_fail_after(0, 0);
        if (!err) {
            assert_true(n > 5);
            return;
        }
        assert_int_equal(err, -PARLEY_ERR_NOMEM);
    }
}

/* The child: appends to row r in two families of the current month, and puts the row's new position, for
 * ever. */
static void row_keys(uint64_t row, uint32_t month, uint8_t key[24], struct store_key *at,
                     struct store_key *position)
{
    memset(key, 0, 24);
    memcpy(key, &row, sizeof row);
    key[16] = (uint8_t)month;
    at->key = (struct span){key, 24};
    at->family = STORE_MESSAGES;
    at->month = month;
    *position = (struct store_key){STORE_META, 0, {key, 24}};
}

static uint64_t row_position(struct bench *b, struct store_key position)
{
    uint8_t *value;
    size_t len;
    uint64_t count = 0;
    int err = store_get(b->store, position, STORE_ALL, &value, &len);
    if (err == -PARLEY_ERR_NOT_FOUND)
        return 0;
    assert_int_equal(err, 0);
    assert_int_equal(len, sizeof count);
    memcpy(&count, value, len);
    memory_free(value);
    return count;
}

static int child_main(const char *dir, unsigned seed)
{
    static uint64_t counts[2][KILL_ROWS];
    struct bench b = {.options = {.write_buffer_bytes = 256 << 10}};
    snprintf(b.dir, sizeof b.dir, "%s", dir);
    bench_open(&b);
    uint8_t key[24], entry[ENTRY_LEN];
    memset(entry, 'e', sizeof entry);
    struct store_key at = {0}, position;
    for (uint32_t m = 0; m < 2; m++)
        for (uint64_t r = 0; r < KILL_ROWS; r++) {
            row_keys(r, NOVEMBER + m, key, &at, &position);
            counts[m][r] = row_position(&b, position);
        }
    if (write(STDOUT_FILENO, "r", 1) != 1)
        return 1;
    for (;;) {
        struct store_batch *batch = batch_new(&b);
        for (int i = 0; i < 8; i++) {
            uint32_t m = (uint32_t)rand_r(&seed) % 2;
            uint64_t r = (uint64_t)rand_r(&seed) % KILL_ROWS;
            row_keys(r, NOVEMBER + m, key, &at, &position);
            uint64_t count = ++counts[m][r];
            store_batch_append(batch, at, (struct span){entry, sizeof entry});
            at.family = STORE_DEDUP;
            store_batch_append(batch, at, (struct span){entry, 16});
            store_batch_put(batch, position, (struct span){(uint8_t *)&count, sizeof count});
        }
        while (store_submit(b.store, &batch, NULL, NULL) == -PARLEY_ERR_FULL)
            usleep(100);
        store_poll(b.store);
    }
}

static size_t row_len(struct bench *b, struct store_key at)
{
    uint8_t *value;
    size_t len;
    int err = store_get(b->store, at, STORE_ALL, &value, &len);
    if (err == -PARLEY_ERR_NOT_FOUND)
        return 0;
    assert_int_equal(err, 0);
    memory_free(value);
    return len;
}

/* Starts the child, waits until it writes, lets it live for a while, kills it. */
static void kill_round(struct bench *b, int round)
{
    int out[2];
    assert_int_equal(pipe(out), 0);
    char seed[16];
    snprintf(seed, sizeof seed, "%d", round + 1);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* exec: the copy of a program with threads may do nothing else */
        dup2(out[1], STDOUT_FILENO);
        execl(self, self, "child", b->dir, seed, (char *)NULL);
        _exit(71);
    }
    close(out[1]);
    char ready = 0;
    ssize_t n = read(out[0], &ready, 1);
    close(out[0]);
    if (n == 1)
        usleep((useconds_t)(30000 + round * 37000));
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(n, 1);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void rows_equal_their_positions_after_each_kill(void **state)
{
    struct bench *b = *state;
    uint64_t before = 0, rounds_that_kept = 0;
    for (int round = 0; round < KILL_ROUNDS; round++) {
        kill_round(b, round);
        bench_open(b);
        uint64_t total = 0;
        for (uint32_t m = 0; m < 2; m++)
            for (uint64_t r = 0; r < KILL_ROWS; r++) {
                uint8_t key[24];
                struct store_key at = {0}, position;
                row_keys(r, NOVEMBER + m, key, &at, &position);
                uint64_t count = row_position(b, position);
                assert_int_equal(row_len(b, at), count * ENTRY_LEN);
                at.family = STORE_DEDUP;
                assert_int_equal(row_len(b, at), count * 16);
                total += count;
            }
        assert_true(total >= before);
        rounds_that_kept += total > before;
        before = total;
        store_close(&b->store);
    }
    print_message("kept %" PRIu64 " entries, grew in %" PRIu64 " of %d rounds\n", before, rounds_that_kept,
                  KILL_ROUNDS);
    assert_true(rounds_that_kept > 0); /* otherwise nothing was tested */
}

static uint64_t free_names(const char *root)
{
    struct statvfs fs;
    return statvfs(root, &fs) == 0 ? fs.f_ffree : 0;
}

/* The child: a disk with room for bytes and for one more name, where RocksDB needs two: it never recovers. Ends by on_fatal.
 * Files that RocksDB removes a little later let it take two names after all; when it has kept them for a while, one more is
 * given. */
static int stuck_main(const char *root)
{
    enum { NAMES_KEPT_TURNS = 1000 };
    static uint8_t noise[32 << 10];
    struct bench b = {.options = {.write_buffer_bytes = 1 << 20, .recovery_max_ms = 300}};
    unsigned seed = 1;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)rand_r(&seed); /* so that it does not compress */
    snprintf(b.root, sizeof b.root, "%s", root);
    snprintf(b.dir, sizeof b.dir, "%s/db", root);
    bench_open(&b);
    submit_row(&b, NOVEMBER, 0);
    submit_row(&b, DECEMBER, 0);
    char path[96];
    int names = 0;
    for (int fd = 0; fd >= 0; names += fd >= 0) {
        snprintf(path, sizeof path, "%s/name-%d", root, names);
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        if (fd >= 0)
            close(fd);
    }
    snprintf(path, sizeof path, "%s/name-%d", root, names - 1);
    if (names == 0 || unlink(path) != 0)
        return 1;
    names--;
    for (int n = 0, none_since = 0; n < 60000; n++) {
        uint8_t key[24];
        struct store_batch *batch = batch_new(&b);
        if (free_names(root) > 0)
            none_since = n;
        if (n - none_since == NAMES_KEPT_TURNS && names > 0) {
            snprintf(path, sizeof path, "%s/name-%d", root, --names);
            if (unlink(path) != 0)
                return 1;
            none_since = n;
        }
        for (uint32_t month = NOVEMBER; month <= DECEMBER; month++)
            store_batch_put(batch, chunk_key(key, month, 2, (uint8_t)n), (struct span){noise, sizeof noise});
        if (store_submit(b.store, &batch, count_done, &b) != 0)
            store_batch_destroy(&batch);
        usleep(1000);
        store_poll(b.store);
    }
    return 1;
}

static void a_database_that_does_not_recover_is_fatal(void **state)
{
    struct bench *b = *state;
    b->mounted = mount("parley", b->root, "tmpfs", 0, "size=64m,nr_inodes=200") == 0;
    if (!b->mounted)
        skip();
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl(self, self, "stuck", b->root, (char *)NULL);
        _exit(1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), FATAL_STATUS);
}

int main(int argc, char **argv)
{
    self = argv[0];
    if (argc == 3 && strcmp(argv[1], "stuck") == 0)
        return stuck_main(argv[2]);
    if (argc == 4 && strcmp(argv[1], "child") == 0)
        return child_main(argv[2], (unsigned)atoi(argv[3]));
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(rows_are_put_appended_and_deleted),
        TEST(scans_keep_order_and_prefix_and_month),
        TEST(a_cold_row_answers_again_and_never_a_part),
        TEST(the_persisted_tier_sees_files_only),
        TEST(months_come_and_go_live),
        TEST(readers_stay_inside_while_months_are_dropped_and_flushed),
        TEST(a_full_queue_refuses_and_keeps_the_batch),
        TEST(a_disk_with_too_little_space_means_stop),
        TEST(batches_complete_in_order_through_stalls),
        TEST(a_checkpoint_opens_and_equals),
        TEST(a_folder_that_lost_its_head_is_refused),
        TEST(a_full_disk_means_stop_and_then_goes_on),
        TEST(without_a_free_byte_months_wait_and_flushes_fail_and_all_goes_on),
        TEST(a_disk_without_a_free_byte_is_no_place_to_open),
        TEST(a_database_that_does_not_recover_is_fatal),
        TEST(a_folder_that_vanishes_is_fatal_once),
        TEST(each_failed_allocation_is_an_error_and_nothing_else),
        TEST(rows_equal_their_positions_after_each_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

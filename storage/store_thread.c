/* The store thread: writes batches in order, creates months, samples the pressure. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/base/memory.h"
#include "storage/store_batch.h"
#include "storage/store_internal.h"

enum {
    STALL_WAIT_US = 1000,
    STALL_TRIES_MAX = 100, /* then others get `exclusive` */
    DISK_FULL_WAIT_MS = 100,
    ROOM_WRITE_BUFFERS = 8, /* so many of its memories fit: there is room, whatever it writes */
    SAMPLE_EVERY_MS = 100,
    DIR_TOLD_MAX = 180, /* of a name, in a text of STORE_TEXT_LEN */
    L0_SLOW_COUNT = 16
};

static void list_clear(struct store_batch_list *list)
{
    list->head = NULL;
    list->tail = &list->head;
}

static void list_push(struct store_batch_list *list, struct store_batch *batch)
{
    batch->next = NULL;
    *list->tail = batch;
    list->tail = &batch->next;
}

static struct store_batch *list_pop(struct store_batch_list *list)
{
    struct store_batch *batch = list->head;
    if (!batch)
        return NULL;
    list->head = batch->next;
    if (!list->head)
        list->tail = &list->head;
    return batch;
}

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

static void sleep_us(long us)
{
    struct timespec t = {us / 1000000, us % 1000000 * 1000};
    nanosleep(&t, NULL);
}

/* Waits for a change of the queue, or so long; `lock` held. */
static void wait_ms(struct store_thread *writer, unsigned ms)
{
    uint64_t at_ms = now_ms() + ms;
    struct timespec until = {(time_t)(at_ms / 1000), (long)(at_ms % 1000) * 1000000};
    pthread_cond_timedwait(&writer->changed, &writer->lock, &until);
}

static int family_is_slow(struct store *store, rocksdb_column_family_handle_t *family, void *owner)
{
    (void)owner;
    uint64_t full = 0;
    rocksdb_property_int_cf(store->db, family, "rocksdb.num-immutable-mem-table", &full);
    if (full >= STORE_WRITE_BUFFERS_MAX - 2)
        return 1;
    char *l0 = rocksdb_property_value_cf(store->db, family, "rocksdb.num-files-at-level0");
    bool slow = l0 && strtoul(l0, NULL, 10) >= L0_SLOW_COUNT;
    rocksdb_free(l0);
    return slow;
}

enum store_pressure store_pressure(const struct store *store)
{
    const struct store_thread *writer = &store->writer;
    uint64_t queued = atomic_load_explicit(&writer->queued_bytes, memory_order_relaxed);
    uint64_t max = store->options.queue_bytes_max;
    int sampled = atomic_load_explicit(&writer->sampled, memory_order_relaxed);
    if (sampled == STORE_DISK_FULL || atomic_load_explicit(&writer->disk_full, memory_order_relaxed))
        return STORE_DISK_FULL;
    if (sampled == STORE_STOP || queued >= max - max / 8)
        return STORE_STOP;
    return sampled == STORE_SLOW || queued >= max / 2 ? STORE_SLOW : STORE_FINE;
}

/* One line for each change; STORE_SLOW refuses nothing and is none. */
static void tell(struct store *store)
{
    struct store_thread *writer = &store->writer;
    enum store_pressure now = store_pressure(store), before = writer->told;
    if (now == STORE_SLOW)
        now = STORE_FINE;
    if (now == before)
        return;
    writer->told = now;
    if (before == STORE_DISK_FULL || now == STORE_DISK_FULL)
        logger_line(now == STORE_DISK_FULL ? LOGGER_ERROR : LOGGER_INFO,
                    now == STORE_DISK_FULL ? "disk_full_began" : "disk_full_ended",
                    logger_text("store", store->dir), logger_u64("free_bytes", writer->free_bytes));
    if (before == STORE_STOP || now == STORE_STOP)
        logger_line(now == STORE_STOP ? LOGGER_WARN : LOGGER_INFO,
                    now == STORE_STOP ? "store_pressure_began" : "store_pressure_ended",
                    logger_text("store", store->dir),
                    logger_u64("queued_bytes", atomic_load(&writer->queued_bytes)));
}

/* Here and not on the reactor: the properties take RocksDB's mutex, statvfs may wait for a disk. */
static void sample(struct store *store)
{
    struct store_thread *writer = &store->writer;
    uint64_t now = now_ms();
    if (writer->sampled_ms && now - writer->sampled_ms < SAMPLE_EVERY_MS)
        return;
    writer->sampled_ms = now;
    uint64_t stopped = 0, delayed = 0;
    rocksdb_property_int(store->db, "rocksdb.is-write-stopped", &stopped);
    rocksdb_property_int(store->db, "rocksdb.actual-delayed-write-rate", &delayed);
    enum store_pressure level = STORE_FINE;
    if (store_space_is_short(store, &writer->free_bytes))
        level = STORE_DISK_FULL;
    else if (stopped)
        level = STORE_STOP;
    else if (delayed || store_families_each(store, family_is_slow, NULL))
        level = STORE_SLOW;
    atomic_store(&writer->sampled, (int)level);
    tell(store);
}

void store_expect_month(struct store *store, uint32_t month)
{
    atomic_store_explicit(&store->writer.expected, month, memory_order_relaxed);
}

/* Without room for them: later; whatever else fails, the batch that needs the month will say. */
static void make_expected(struct store *store)
{
    uint32_t month = atomic_load_explicit(&store->writer.expected, memory_order_relaxed);
    char text[STORE_TEXT_LEN];
    if (month == store->writer.made || store_pressure(store) == STORE_DISK_FULL)
        return;
    pthread_mutex_lock(&store->exclusive);
    int err = store_families_ensure(store, month, text, sizeof text);
    if (!err)
        err = store_families_ensure(store, month + 1, text, sizeof text);
    pthread_mutex_unlock(&store->exclusive);
    if (!err)
        store->writer.made = month;
}

/* Translates the batch for RocksDB; `exclusive` held. */
static int prepare(struct store *store, const struct store_batch *batch, char *text, size_t text_len)
{
    rocksdb_writebatch_t *out = store->writer.scratch;
    rocksdb_writebatch_clear(out);
    struct bytes_reader ops = store_batch_ops(batch);
    struct store_batch_op op;
    while (store_batch_next(&ops, &op)) {
        struct store_month *pin;
        if (op.at.month) {
            int err = store_families_ensure(store, op.at.month, text, text_len);
            if (err)
                return err;
        }
        rocksdb_column_family_handle_t *family = store_families_acquire(store, &op.at, &pin);
        parley_assert(family);
        const char *key = (const char *)op.at.key.data, *value = (const char *)op.value.data;
        if (op.kind == STORE_BATCH_PUT)
            rocksdb_writebatch_put_cf(out, family, key, op.at.key.len, value, op.value.len);
        else if (op.kind == STORE_BATCH_APPEND)
            rocksdb_writebatch_merge_cf(out, family, key, op.at.key.len, value, op.value.len);
        else
            rocksdb_writebatch_delete_cf(out, family, key, op.at.key.len);
        store_families_release(pin); /* it stays: months are dropped under `exclusive` only */
    }
    return 0;
}

/* One go at a batch. -PARLEY_ERR_AGAIN: it stalled for long; nothing was applied. */
static int try_batch(struct store *store, const struct store_batch *batch, char *text, size_t text_len)
{
    pthread_mutex_lock(&store->exclusive);
    int err = prepare(store, batch, text, text_len);
    for (int tries = 0; !err; tries++) {
        char *error = NULL;
        rocksdb_write(store->db, store->write_options, store->writer.scratch, &error);
        if (!error)
            break;
        if (!store_error_is_stall(error)) {
            err = store_error_take(&error, text, text_len);
        } else {
            rocksdb_free(error);
            if (tries == STALL_TRIES_MAX)
                err = -PARLEY_ERR_AGAIN;
            sample(store);
            sleep_us(STALL_WAIT_US);
        }
    }
    pthread_mutex_unlock(&store->exclusive);
    return err;
}

static bool has_ample_room(const struct store *store)
{
    const struct store_thread *writer = &store->writer;
    return atomic_load(&writer->sampled) != STORE_DISK_FULL &&
           writer->free_bytes > store->options.write_buffer_bytes * ROOM_WRITE_BUFFERS;
}

/* RocksDB 7.8 may wait for itself for ever once a flush has failed while another one was waiting: with atomic flush, the later one
 * takes the newer memtables and waits for the older, which nobody takes up again. Nor can it be closed then. True when it has had
 * room for long and still writes nothing; `since_ms` is 0 at first. */
static bool is_stuck(const struct store *store, uint64_t *since_ms)
{
    uint64_t now = now_ms();
    if (!atomic_load(&store->writer.disk_full) || !has_ample_room(store))
        *since_ms = 0;
    else if (*since_ms == 0)
        *since_ms = now;
    if (*since_ms == 0 || now - *since_ms < store->options.recovery_max_ms)
        return false;
    *since_ms = now;
    return store_space_takes_a_file(store);
}

/* Until it is written. Otherwise: -PARLEY_ERR_CLOSING on a full disk, or what is fatal. */
static int write_batch(struct store *store, const struct store_batch *batch, char *text, size_t text_len)
{
    struct store_thread *writer = &store->writer;
    uint64_t roomy_since_ms = 0;
    for (;;) {
        int err = try_batch(store, batch, text, text_len);
        if (!err)
            atomic_store(&writer->disk_full, false);
        if (err != -PARLEY_ERR_DISK_FULL && err != -PARLEY_ERR_AGAIN)
            return err;
        sample(store);
        if (is_stuck(store, &roomy_since_ms)) {
            snprintf(text, text_len, "RocksDB does not go on after a full disk, and there is room: %.*s",
                     DIR_TOLD_MAX, store->dir);
            return -PARLEY_ERR_IO;
        }
        if (err == -PARLEY_ERR_AGAIN)
            continue;
        atomic_store(&writer->disk_full, true);
        pthread_mutex_lock(&writer->lock);
        bool closing = writer->closing;
        pthread_mutex_unlock(&writer->lock);
        if (closing && !has_ample_room(store))
            return -PARLEY_ERR_CLOSING;
        sleep_us(DISK_FULL_WAIT_MS * 1000L);
    }
}

/* `lock` held. Bytes count until the reactor polls, so that its own list is bounded too. */
static void batch_written(struct store *store, struct store_batch *batch)
{
    struct store_thread *writer = &store->writer;
    bool first = !writer->written.head;
    memory_free(batch->data);
    batch->data = NULL;
    batch->len = batch->cap = 0;
    list_push(&writer->written, batch);
    if (!first || !store->options.wake)
        return; /* the reactor was woken and has not come yet */
    pthread_mutex_unlock(&writer->lock);
    store->options.wake(store->options.owner);
    pthread_mutex_lock(&writer->lock);
}

static void *thread_main(void *arg)
{
    struct store *store = arg;
    parley_assert(store->magic == STORE_MAGIC);
    struct store_thread *writer = &store->writer;
    char text[STORE_TEXT_LEN] = "";
    int err = 0;
    pthread_mutex_lock(&writer->lock);
    while (!err) {
        struct store_batch *batch = list_pop(&writer->waiting);
        if (!batch && writer->closing)
            break;
        if (!batch)
            wait_ms(writer, SAMPLE_EVERY_MS);
        pthread_mutex_unlock(&writer->lock);
        sample(store);
        if (batch)
            err = write_batch(store, batch, text, sizeof text);
        if (!err)
            make_expected(store);
        pthread_mutex_lock(&writer->lock);
        if (batch && !err)
            batch_written(store, batch);
        else
            store_batch_destroy(&batch);
    }
    writer->failed = err != 0;
    if (err)
        atomic_store(&writer->sampled, STORE_STOP);
    pthread_mutex_unlock(&writer->lock);
    if (err && err != -PARLEY_ERR_CLOSING && store->options.on_fatal)
        store->options.on_fatal(store->options.owner, text);
    return NULL;
}

int store_thread_start(struct store *store)
{
    struct store_thread *writer = &store->writer;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->changed, &attr);
    pthread_condattr_destroy(&attr);
    list_clear(&writer->waiting);
    list_clear(&writer->written);
    writer->scratch = rocksdb_writebatch_create();
    sample(store); /* so that the first question is answered rightly */
    if (pthread_create(&writer->thread, NULL, thread_main, store) != 0) {
        rocksdb_writebatch_destroy(writer->scratch);
        pthread_cond_destroy(&writer->changed);
        pthread_mutex_destroy(&writer->lock);
        return -PARLEY_ERR_NOMEM;
    }
    writer->started = true;
    return 0;
}

void store_thread_stop(struct store *store)
{
    struct store_thread *writer = &store->writer;
    if (!writer->started)
        return;
    pthread_mutex_lock(&writer->lock);
    writer->closing = true;
    pthread_cond_signal(&writer->changed);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    writer->started = false;
    store_poll(store);
    for (struct store_batch *batch; (batch = list_pop(&writer->waiting));)
        store_batch_destroy(&batch);
    rocksdb_writebatch_destroy(writer->scratch);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
}

int store_submit(struct store *store, struct store_batch **out, store_done_fn *done, void *owner)
{
    struct store_batch *batch = *out;
    parley_assert(store->magic == STORE_MAGIC && batch->magic == STORE_BATCH_MAGIC);
    if (batch->failed)
        return -PARLEY_ERR_NOMEM;
    struct store_thread *writer = &store->writer;
    int err = 0;
    pthread_mutex_lock(&writer->lock);
    uint64_t queued = atomic_load(&writer->queued_bytes);
    if (writer->failed || writer->closing)
        err = -PARLEY_ERR_IO;
    else if (writer->batch_count == STORE_BATCHES_MAX ||
             (queued && queued + batch->len > store->options.queue_bytes_max))
        err = -PARLEY_ERR_FULL;
    if (!err) {
        *out = NULL;
        batch->done = done;
        batch->owner = owner;
        batch->queued_bytes = batch->len;
        writer->batch_count++;
        atomic_store(&writer->queued_bytes, queued + batch->len);
        list_push(&writer->waiting, batch);
        pthread_cond_signal(&writer->changed);
    }
    pthread_mutex_unlock(&writer->lock);
    return err;
}

void store_poll(struct store *store)
{
    parley_assert(store->magic == STORE_MAGIC);
    struct store_thread *writer = &store->writer;
    pthread_mutex_lock(&writer->lock);
    struct store_batch_list written;
    list_clear(&written);
    if (writer->written.head) {
        written = writer->written;
        list_clear(&writer->written);
    }
    for (struct store_batch *batch = written.head; batch; batch = batch->next) {
        writer->batch_count--;
        atomic_fetch_sub(&writer->queued_bytes, batch->queued_bytes);
    }
    pthread_mutex_unlock(&writer->lock);
    struct store_batch *next;
    for (struct store_batch *batch = written.head; batch; batch = next) {
        next = batch->next;
        if (batch->done)
            batch->done(batch->owner);
        store_batch_destroy(&batch);
    }
}

/* storage/log.c: the local commit log.
 *
 *  1. An event is announced (on_durable) only after the write of its block, and of every block before it, has
 *     completed with RWF_DSYNC. At most one block is in flight.
 *  2. After a failed write or sync nothing is submitted, announced or accepted any more; on_fatal is called
 * once.
 *  3. Block numbers are dense and chained by header checksums over segments; positions continue; ceilings
 * rise.
 *  4. Segments have dense ids. Only the newest may be torn; one begins only when all blocks before are
 * durable.
 *  5. What log_append accepts has its place: in the tail, or in the spare that is ready.
 *  6. The mark never says more than what is durable, and its two slots are written in turn, one at a time.
 *  7. Trimming takes whole segments, oldest first, and never the one with the last durable block.
 *  8. Readers see durable blocks only, by their own descriptors. They share the list of segments, their
 * `durable` and index, and `end` with the owner under `lock`; only the owner changes them.
 *
 *      append -> [filling] -start_block-> [in flight] -block_done-> durable
 *                                              |
 *                                              +-> fail (dead)
 */
#include "storage/log.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/file.h"
#include "storage/log_block.h"
#include "storage/log_recover.h"
#include "storage/log_segment.h"

enum {
    MAGIC = 0x10c10c01,
    SEGMENT_BYTES_DEFAULT = 64 << 20,
    MARK_IDLE_MS_DEFAULT = 100,
    SPARE_RETRY_MS = 1000,
    READ_STEP_BYTES = 128 << 10
};

struct log {
    uint32_t magic;
    struct log_options options;
    struct file_layer *files;
    char *dir;
    int lock_fd, mark_fd;
    struct log_helper *helper;
    size_t block_bytes_max;

    pthread_mutex_t lock;
    struct log_segment *first, *tail;
    uint64_t end; /* after the last durable event */

    struct log_segment *spare;
    bool spare_wanted;
    int spare_err; /* why there is none: -PARLEY_ERR_DISK_FULL or 0 */
    uint64_t spare_retry_ms;

    struct log_chain chain;          /* what the next sealed block says */
    struct log_block_header last;    /* the last durable block: number, ceiling and header_crc are valid */
    struct log_block_header flight;  /* valid while in_flight */
    struct log_block_header filling; /* counts so far */
    uint8_t *memory, *block[2], *mark_slot;
    int filling_block; /* index in `block` */
    bool in_flight, mark_in_flight, tick_wanted, appended, dead;
    uint64_t idle_since_ms;
    struct log_mark mark, mark_next;
    struct log_counters counters;
};

static void log_check(const struct log *log)
{
    parley_assert(log->magic == MAGIC);
}

static void fail(struct log *log, int err, const char *what)
{
    if (log->dead)
        return;
    log->dead = true;
    log->options.on_fatal(log->options.owner, err, what);
}

static void reset_filling(struct log *log)
{
    log->filling = (struct log_block_header){.first_position = log->chain.position};
}

static void block_done(void *owner, int result)
{
    struct log *log = owner;
    log_check(log);
    parley_assert(log->in_flight);
    log->in_flight = false;
    if (result != 0)
        fail(log, result, "a block could not be written");
    if (log->dead)
        return;
    const struct log_block_header *h = &log->flight;
    pthread_mutex_lock(&log->lock);
    log_segment_note(log->tail, h->first_position, h->number, h->previous_crc,
                     log_block_padded_bytes(h->payload_bytes));
    log->end = h->first_position + h->event_count;
    pthread_mutex_unlock(&log->lock);
    log->last = *h;
    log->options.on_durable(log->options.owner, log->end);
}

/* Where a block of so many bytes would go; NULL when there is no place. */
static struct log_segment *place_for(const struct log *log, size_t padded)
{
    if (log->tail->bytes - log->tail->used >= padded)
        return log->tail;
    return log->spare;
}

static void advance_to_spare(struct log *log)
{
    struct log_segment *old = log->tail;
    pthread_mutex_lock(&log->lock);
    old->next = log->spare;
    log->tail = log->spare;
    pthread_mutex_unlock(&log->lock);
    log->spare = NULL;
    log->files->ops->close(log->files, old->fd); /* nothing of it is in flight */
    old->fd = -1;
}

/* Seals the filling block and submits it. Errors: -PARLEY_ERR_FULL: no place, or the ring is full: later. */
static int start_block(struct log *log)
{
    parley_assert(!log->in_flight && !log->dead);
    struct log_block_header *h = &log->filling;
    uint8_t *block = log->block[log->filling_block];
    size_t padded = log_block_padded_bytes(h->payload_bytes);
    struct log_segment *segment = place_for(log, padded);
    if (segment == NULL)
        return -PARLEY_ERR_FULL;
    uint64_t ceiling = log->options.ceiling(log->options.owner);
    h->segment_id = segment->id;
    h->number = log->chain.number;
    h->previous_crc = log->chain.previous_crc;
    h->ceiling = ceiling > log->chain.ceiling ? ceiling : log->chain.ceiling;
    log_block_seal(block, segment->salt, h);
    log->flight = *h;
    log->in_flight = true; /* before: the layer may not call back, but the state is whole */
    int err = log->files->ops->submit(log->files, segment->fd, block, padded, segment->used, block_done, log);
    if (err != 0) {
        log->in_flight = false;
        if (err != -PARLEY_ERR_FULL)
            fail(log, err, "a block could not be submitted");
        return err;
    }
    if (segment != log->tail)
        advance_to_spare(log);
    log->tail->used += padded;
    log->counters.blocks++;
    log->counters.block_bytes += padded;
    log->counters.padding_bytes += padded - LOG_BLOCK_HEADER_BYTES - h->payload_bytes;
    log_chain_advance(&log->chain, h);
    log->filling_block ^= 1;
    log->tick_wanted = false;
    reset_filling(log);
    return 0;
}

static void mark_done(void *owner, int result)
{
    struct log *log = owner;
    log_check(log);
    parley_assert(log->mark_in_flight);
    log->mark_in_flight = false;
    if (result != 0)
        fail(log, result, "the mark could not be written");
    else
        log->mark = log->mark_next;
    log->counters.mark_bytes += LOG_BLOCK_ALIGN;
}

static bool mark_is_stale(const struct log *log)
{
    return log->mark.block_number != log->last.number;
}

static int start_mark(struct log *log)
{
    parley_assert(!log->mark_in_flight && !log->dead);
    log->mark_next = (struct log_mark){.generation = log->mark.generation + 1,
                                       .end = log->end,
                                       .block_number = log->last.number,
                                       .ceiling = log->last.ceiling,
                                       .block_crc = log->last.header_crc};
    log_mark_encode(log->mark_slot, &log->mark_next);
    log->mark_in_flight = true;
    int err = log->files->ops->submit(log->files, log->mark_fd, log->mark_slot, LOG_BLOCK_ALIGN,
                                      log_mark_offset(log->mark_next.generation), mark_done, log);
    if (err != 0) {
        log->mark_in_flight = false;
        if (err != -PARLEY_ERR_FULL)
            fail(log, err, "the mark could not be submitted");
    }
    return err;
}

static bool has_filling(const struct log *log)
{
    return log->filling.record_count > 0 || log->tick_wanted;
}

/* Keeps one empty segment ready. */
static void tend_spare(struct log *log, uint64_t now_ms)
{
    int err = log_helper_error(log->helper);
    if (err != 0) {
        fail(log, err, "a trimmed segment could not be removed");
        return;
    }
    if (log->spare == NULL && !log->spare_wanted && now_ms >= log->spare_retry_ms) {
        log_helper_want(log->helper, log->tail->id + 1);
        log->spare_wanted = true;
    }
    log_helper_work(log->helper);
    if (!log->spare_wanted)
        return;
    err = log_helper_take(log->helper, &log->spare);
    if (err == -PARLEY_ERR_AGAIN)
        return;
    log->spare_wanted = false;
    log->spare_err = err;
    log->counters.zeroed_bytes += err == 0 ? log->spare->bytes : 0;
    /* No acknowledged byte depends on a file that never got its name: without space or memory, try anew. */
    if (err == -PARLEY_ERR_DISK_FULL || err == -PARLEY_ERR_NOMEM)
        log->spare_retry_ms = now_ms + SPARE_RETRY_MS;
    else if (err != 0)
        fail(log, err, "a segment could not be made");
}

void log_poll(struct log *log, uint64_t now_ms)
{
    log_check(log);
    log->files->ops->poll(log->files, false);
    if (!log->dead)
        tend_spare(log, now_ms);
    if (log->dead)
        return;
    if (!log->in_flight && has_filling(log) && start_block(log) != 0 && log->dead)
        return;
    bool idle = !log->appended && !log->in_flight && !has_filling(log);
    if (!idle)
        log->idle_since_ms = now_ms;
    log->appended = false;
    if (idle && !log->mark_in_flight && mark_is_stale(log) &&
        now_ms - log->idle_since_ms >= log->options.mark_idle_ms) {
        int err = start_mark(log);
        parley_assert(err == 0 || log->dead || err == -PARLEY_ERR_FULL);
    }
}

int log_append(struct log *log, const void *record, size_t len, uint32_t event_count, uint64_t *position)
{
    log_check(log);
    if (log->dead)
        return -PARLEY_ERR_IO;
    if (event_count == 0 || event_count > LOG_RECORD_EVENTS_MAX)
        return -PARLEY_ERR_BAD_REQUEST;
    size_t need = LOG_BLOCK_PREFIX_BYTES + len;
    if (len > LOG_RECORD_BYTES_MAX || log_block_padded_bytes(need) > log->block_bytes_max)
        return -PARLEY_ERR_TOO_LARGE;
    if (log_block_padded_bytes(log->filling.payload_bytes + need) > log->block_bytes_max) {
        if (log->in_flight || start_block(log) != 0)
            return log->dead ? -PARLEY_ERR_IO : -PARLEY_ERR_FULL;
    }
    if (place_for(log, log_block_padded_bytes(log->filling.payload_bytes + need)) == NULL)
        return log->spare_err == -PARLEY_ERR_DISK_FULL ? log->spare_err : -PARLEY_ERR_FULL;
    uint8_t *at = log->block[log->filling_block] + LOG_BLOCK_HEADER_BYTES + log->filling.payload_bytes;
    *position = log->filling.first_position + log->filling.event_count;
    log->filling.payload_bytes += (uint32_t)log_block_put_record(at, record, len, event_count);
    log->filling.event_count += event_count;
    log->filling.record_count++;
    log->appended = true;
    log->counters.event_bytes += len;
    return 0;
}

int log_tick(struct log *log)
{
    log_check(log);
    if (log->dead)
        return -PARLEY_ERR_IO;
    if (place_for(log, log_block_padded_bytes(log->filling.payload_bytes)) == NULL)
        return -PARLEY_ERR_FULL;
    log->tick_wanted = true;
    return 0;
}

uint64_t log_start(const struct log *log)
{
    return log->first->durable > 0 ? log->first->first_position : log->end;
}

uint64_t log_end(const struct log *log)
{
    return log->end;
}

uint64_t log_next(const struct log *log)
{
    return log->filling.first_position + log->filling.event_count;
}

uint64_t log_ceiling(const struct log *log)
{
    return log->last.ceiling;
}

uint64_t log_bytes(const struct log *log)
{
    uint64_t bytes = 0;
    for (const struct log_segment *s = log->first; s != NULL; s = s->next)
        bytes += s->bytes;
    return bytes;
}

bool log_idle(const struct log *log)
{
    return !log->in_flight && !log->mark_in_flight && (log->dead || !has_filling(log));
}

void log_counters_read(const struct log *log, struct log_counters *out)
{
    *out = log->counters;
}

int log_trim(struct log *log, uint64_t below)
{
    log_check(log);
    if (log->dead)
        return -PARLEY_ERR_IO;
    for (;;) {
        struct log_segment *old = log->first, *next = old->next;
        if (next == NULL || next->durable == 0 || next->first_position > below)
            break;
        pthread_mutex_lock(&log->lock);
        log->first = next;
        pthread_mutex_unlock(&log->lock);
        log_helper_remove(log->helper, &old);
    }
    log_helper_work(log->helper);
    int err = log_helper_error(log->helper);
    if (err != 0)
        fail(log, err, "a trimmed segment could not be removed");
    return err;
}

/* ---- reading ---- */

struct read_state {
    struct log *log;
    uint64_t from, to;
    log_record_fn *fn;
    void *owner;
    struct log_chain chain;
    struct log_window window;
    uint64_t segment_id, offset;
    uint64_t segment_bytes_max; /* no block is longer */
};

/* A copy of what a reader needs of a segment, path included. Errors: -PARLEY_ERR_LOST: it was trimmed. */
static int look_up_segment(struct log *log, uint64_t id, struct log_segment *copy)
{
    int err = -PARLEY_ERR_LOST;
    pthread_mutex_lock(&log->lock);
    for (const struct log_segment *s = log->first; s != NULL; s = s->next) {
        if (s->id != id)
            continue;
        /* Only what readers share: the rest is the owner's, who does not lock. */
        *copy = (struct log_segment){.id = s->id, .bytes = s->bytes, .salt = s->salt, .durable = s->durable};
        err = 0;
    }
    pthread_mutex_unlock(&log->lock);
    return err;
}

/* Finds the last index entry at or before `from`. */
static int read_begin(struct read_state *r)
{
    struct log *log = r->log;
    int err = -PARLEY_ERR_LOST;
    pthread_mutex_lock(&log->lock);
    if (r->to > log->end)
        r->to = log->end;
    if (r->from == log->end)
        err = -PARLEY_ERR_END;
    const struct log_segment *found = NULL;
    for (const struct log_segment *s = log->first; s != NULL && r->from < log->end; s = s->next) {
        if (s->durable > 0 && s->first_position <= r->from)
            found = s;
        if (s->bytes > r->segment_bytes_max)
            r->segment_bytes_max = s->bytes;
    }
    if (found != NULL) {
        uint32_t low = 0, high = found->index_count;
        while (high - low > 1) {
            uint32_t middle = low + (high - low) / 2;
            if (found->index[middle].position <= r->from)
                low = middle;
            else
                high = middle;
        }
        const struct log_index_entry *e = &found->index[low];
        r->segment_id = found->id;
        r->offset = e->offset;
        r->chain =
            (struct log_chain){.number = e->number, .position = e->position, .previous_crc = e->previous_crc};
        err = 0;
    }
    pthread_mutex_unlock(&log->lock);
    return err;
}

static int read_block(struct read_state *r, const struct log_segment *s)
{
    const uint8_t *data;
    struct log_block_header h;
    int err = log_window_get(&r->window, r->offset, LOG_BLOCK_ALIGN, &data);
    if (err == 0)
        err = log_block_get_header(data, s->salt, &h);
    if (err != 0)
        return err;
    if (!log_chain_accepts(&r->chain, &h, s->id))
        return -PARLEY_ERR_CORRUPT;
    size_t padded = log_block_padded_bytes(h.payload_bytes);
    err = log_window_get(&r->window, r->offset, padded, &data);
    if (err == 0)
        err = log_block_check_payload(data, &h);
    if (err == 0)
        err = log_block_check_records(data, &h);
    if (err != 0)
        return err;
    struct log_block_cursor cursor = log_block_cursor_of(data, &h);
    uint64_t position;
    uint32_t event_count;
    struct span record;
    while (log_block_next_record(&cursor, &position, &event_count, &record)) {
        if (position + event_count <= r->from || position >= r->to)
            continue;
        err = r->fn(r->owner, position, event_count, record);
        if (err < 0)
            return err;
    }
    r->offset += padded;
    log_chain_advance(&r->chain, &h);
    return 0;
}

static int read_segment(struct read_state *r)
{
    struct log_segment s;
    int err = look_up_segment(r->log, r->segment_id, &s);
    if (err != 0)
        return err;
    char path[LOG_PATH_MAX];
    log_segment_path(r->log->dir, &s, path, sizeof(path));
    err = r->log->files->ops->open(r->log->files, path, FILE_READ, &r->window.fd);
    if (err != 0)
        return err == -PARLEY_ERR_NOT_FOUND ? -PARLEY_ERR_LOST : err;
    r->window.limit = s.durable;
    r->window.offset = r->window.len = 0;
    while (err == 0 && r->offset < s.durable && r->chain.position < r->to)
        err = read_block(r, &s);
    r->log->files->ops->close(r->log->files, r->window.fd);
    r->segment_id++;
    r->offset = 0;
    return err;
}

int log_read(struct log *log, uint64_t from, uint64_t to, log_record_fn *fn, void *owner)
{
    log_check(log);
    struct read_state r = {.log = log, .from = from, .to = to, .fn = fn, .owner = owner};
    r.segment_bytes_max = log->options.segment_bytes;
    int err = read_begin(&r);
    if (err != 0)
        return err == -PARLEY_ERR_END ? 0 : err;
    size_t bytes = r.segment_bytes_max < LOG_BLOCK_BYTES_MAX ? r.segment_bytes_max : LOG_BLOCK_BYTES_MAX;
    uint8_t *raw = memory_alloc(bytes + LOG_BLOCK_ALIGN);
    if (raw == NULL)
        return -PARLEY_ERR_NOMEM;
    r.window = (struct log_window){.files = log->files, .step_bytes = READ_STEP_BYTES};
    r.window.data = raw + (LOG_BLOCK_ALIGN - (uintptr_t)raw % LOG_BLOCK_ALIGN) % LOG_BLOCK_ALIGN;
    while (err == 0 && r.chain.position < r.to)
        err = read_segment(&r);
    memory_free(raw);
    return err;
}

/* ---- open and close ---- */

static void adopt(struct log *log, const struct log_recovered *found, struct log_report *report)
{
    log->first = found->first;
    log->tail = found->tail;
    log->spare = found->spare;
    log->chain = found->chain;
    log->mark = found->mark;
    log->end = found->chain.position;
    if (found->chain.number == 1) /* a new log: its first segment was made just now */
        log->counters.zeroed_bytes = found->first->bytes;
    if (log->mark.ceiling > log->chain.ceiling)
        log->chain.ceiling = log->mark.ceiling;
    log->last = (struct log_block_header){.number = found->chain.number - 1,
                                          .header_crc = found->chain.previous_crc,
                                          .ceiling = log->chain.ceiling};
    /* A new segment must not follow an empty one, so the first block has to fit there. */
    if (log->tail->used == 0 && log->tail->bytes < log->block_bytes_max)
        log->block_bytes_max = log->tail->bytes;
    reset_filling(log);
    report->start = log_start(log);
    report->end = log->end;
    report->ceiling = log->chain.ceiling;
    report->mark = log->mark.end;
}

static int open_mark(struct log *log)
{
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof(path), "%s/mark", log->dir);
    return log->files->ops->open(log->files, path, FILE_WRITE, &log->mark_fd);
}

static int allocate(struct log *log, const struct log_options *options)
{
    log->magic = MAGIC;
    log->options = *options;
    if (log->options.segment_bytes == 0)
        log->options.segment_bytes = SEGMENT_BYTES_DEFAULT;
    if (log->options.mark_idle_ms == 0)
        log->options.mark_idle_ms = MARK_IDLE_MS_DEFAULT;
    uint64_t bytes = log->options.segment_bytes;
    parley_assert(bytes % LOG_BLOCK_ALIGN == 0 && bytes >= 2 * (uint64_t)LOG_BLOCK_ALIGN);
    log->block_bytes_max = bytes < LOG_BLOCK_BYTES_MAX ? bytes : LOG_BLOCK_BYTES_MAX;
    log->files = options->files;
    log->lock_fd = log->mark_fd = -1;
    size_t dir_len = strlen(options->dir);
    if (dir_len >= LOG_DIR_MAX)
        return -PARLEY_ERR_BAD_REQUEST;
    log->dir = memory_alloc(dir_len + 1);
    if (log->dir == NULL)
        return -PARLEY_ERR_NOMEM;
    memcpy(log->dir, options->dir, dir_len + 1);
    log->options.dir = log->dir;
    return 0;
}

static int allocate_blocks(struct log *log)
{
    log->memory = memory_zalloc(2 * log->block_bytes_max + (size_t)2 * LOG_BLOCK_ALIGN);
    if (log->memory == NULL)
        return -PARLEY_ERR_NOMEM;
    uint8_t *at =
        log->memory + (LOG_BLOCK_ALIGN - (uintptr_t)log->memory % LOG_BLOCK_ALIGN) % LOG_BLOCK_ALIGN;
    log->block[0] = at;
    log->block[1] = at + log->block_bytes_max;
    log->mark_slot = at + 2 * log->block_bytes_max;
    return 0;
}

/* Frees everything; nothing is in flight. */
static void release(struct log *log)
{
    log_helper_destroy(&log->helper);
    while (log->first != NULL) {
        struct log_segment *next = log->first->next;
        log_segment_destroy(log->files, &log->first);
        log->first = next;
    }
    log_segment_destroy(log->files, &log->spare);
    if (log->mark_fd >= 0)
        log->files->ops->close(log->files, log->mark_fd);
    if (log->lock_fd >= 0)
        log->files->ops->close(log->files, log->lock_fd);
    pthread_mutex_destroy(&log->lock);
    memory_free(log->memory);
    memory_free(log->dir);
    log->magic = 0;
    memory_free(log);
}

int log_open(const struct log_options *options, struct log_report *report, struct log **out)
{
    *report = (struct log_report){0};
    struct log *log = memory_zalloc(sizeof(*log));
    if (log == NULL)
        return -PARLEY_ERR_NOMEM;
    pthread_mutex_init(&log->lock, NULL);
    struct log_recovered found;
    int err = allocate(log, options);
    if (err != 0)
        goto fail;
    err = log->files->ops->make_dir(log->files, log->dir);
    if (err != 0)
        goto fail;
    char path[LOG_PATH_MAX];
    snprintf(path, sizeof(path), "%s/lock", log->dir);
    err = log->files->ops->lock(log->files, path, &log->lock_fd);
    if (err != 0) {
        log->lock_fd = -1;
        snprintf(report->text, sizeof(report->text), "the log is locked by another process, or cannot be");
        goto fail;
    }
    err = log_recover(log->files, log->dir, log->options.segment_bytes, log->options.must_exist, report,
                      &found);
    if (err != 0)
        goto fail;
    adopt(log, &found, report);
    err = open_mark(log);
    if (err != 0)
        goto fail;
    err = allocate_blocks(log);
    if (err != 0)
        goto fail;
    err = log_helper_create(log->files, log->dir, log->options.segment_bytes, options->helper_thread,
                            &log->helper);
    if (err != 0)
        goto fail;
    *out = log;
    return 0;
fail:
    release(log);
    return err;
}

int log_inspect(const struct log_options *options, struct log_report *report, int *verdict, struct log **out)
{
    *report = (struct log_report){0};
    *out = NULL;
    struct log *log = memory_zalloc(sizeof(*log));
    if (log == NULL)
        return -PARLEY_ERR_NOMEM;
    pthread_mutex_init(&log->lock, NULL);
    struct log_recovered found;
    int err = allocate(log, options);
    if (err == 0)
        err = log_recover_look(log->files, log->dir, log->options.segment_bytes, log->options.must_exist,
                               report, verdict, &found);
    if (err == 0 && found.first != NULL) {
        adopt(log, &found, report);
        log->dead = true; /* it takes nothing */
        *out = log;
        return 0;
    }
    if (err == 0)
        report->start = report->end = found.chain.position;
    release(log);
    return err;
}

void log_close(struct log **closing)
{
    struct log *log = *closing;
    if (log == NULL)
        return;
    log_check(log);
    for (;;) {
        int err = 0;
        if (log->in_flight || log->mark_in_flight)
            log->files->ops->poll(log->files, true);
        else if (log->dead)
            break; /* NOLINT(bugprone-branch-clone): the order of the questions matters */
        else if (log->filling.record_count > 0)
            err = start_block(log);
        else if (mark_is_stale(log))
            err = start_mark(log);
        else
            break;
        if (err == -PARLEY_ERR_FULL) /* others fill the ring */
            log->files->ops->poll(log->files, true);
    }
    release(log);
    *closing = NULL;
}

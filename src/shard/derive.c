#include "src/shard/derive.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/large_set.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"

enum {
    QUEUE_BYTES_MAX = 64 << 10,   /* of a line; beyond, the log serves it */
    READ_POSITIONS_MAX = 1 << 18, /* of the log, in one answer */
    PROGRESS_MS = 1000,
    RETRY_MS = 100,
    ENTRY_BYTES = 8 + 16 + 16 + 8 + 1
};

enum entry_kind { ENTRY_LEFT, ENTRY_JOINED, ENTRY_LARGE };

/* One membership that began or ended, or a conversation that became large. */
struct entry {
    uint64_t position, id;
    struct id16 user, conversation;
    enum entry_kind kind;
};

/* Source: what one destination has still to hear. */
struct line {
    struct shard *shard;
    uint32_t destination;
    struct shard_request *hanging;
    uint8_t *queue; /* entries of the events at from .. applied */
    size_t len, max;
    uint64_t from;
    uint64_t asked, persisted;                     /* by the destination: it has everything below */
    struct shard_request *waiting, **waiting_tail; /* for `asked` to pass their position */
    struct reader_job job;
    bool reading;
    uint64_t next_progress_ms;
    /* The reading's result. */
    int err;
    uint8_t *bytes;
    size_t bytes_len, bytes_max;
    uint64_t read_to, read_next;
};

/* Destination: one source. */
struct feed {
    struct shard *shard;
    struct shard_request question;
    uint64_t offset, persisted, persisted_found, writing;
    bool asking, written_out;    /* a question is out; a batch is under way */
    bool behind, writing_behind; /* since the start it has not caught up yet */
    struct store_batch *batch;   /* not taken by the store yet */
    struct shard_page page;      /* of the batch that is under way */
    uint64_t retry_ms;
};

struct derive {
    uint32_t count, out_count; /* questions that are out */
    struct line *lines;
    struct feed *feeds;
    struct large_set large;
    uint32_t behind_count;                     /* feeds */
    struct shard_request *lists, **lists_tail; /* wait until there are none */
    bool stopped;
};

/* -- entries */

static void put_entry(struct bytes_writer *w, const struct entry *e)
{
    bytes_put_u64(w, e->position);
    bytes_put_id16(w, &e->user);
    bytes_put_id16(w, &e->conversation);
    bytes_put_u64(w, e->id);
    bytes_put_u8(w, (uint8_t)e->kind);
}

static struct entry get_entry(struct bytes_reader *r)
{
    struct entry e = {.position = bytes_get_u64(r)};
    e.user = bytes_get_id16(r);
    e.conversation = bytes_get_id16(r);
    e.id = bytes_get_u64(r);
    e.kind = (enum entry_kind)bytes_get_u8(r);
    return e;
}

static bool becomes_large(const struct event *event)
{
    return event->kind == EVENT_SPLIT && event->page_count == MACHINE_LARGE_PAGES;
}

/* Who begins or ends to be a member by this event, or that it makes a conversation large; at most `max`. */
static uint32_t entries_of(const struct event *event, uint64_t position, struct entry *out, uint32_t max)
{
    struct entry e = {.position = position, .id = event->id, .conversation = event->conversation};
    uint32_t count = 0;
    if (event->kind == EVENT_CREATED) {
        struct bytes_reader r = bytes_reader_of(event->members.data, event->members.len);
        e.kind = ENTRY_JOINED;
        for (uint32_t i = 0; i < event->member_count && count < max; i++) {
            e.user = member_get(&r).hash;
            out[count++] = e;
        }
    } else if (event->kind == EVENT_ADDED || event->kind == EVENT_REMOVED) {
        e.kind = event->kind == EVENT_ADDED ? ENTRY_JOINED : ENTRY_LEFT;
        e.user = event->target_hash;
        out[count++] = e;
    } else if (becomes_large(event)) {
        e.kind = ENTRY_LARGE;
        out[count++] = e;
    }
    return count;
}

static bool is_derived_from(const struct event *event)
{
    return event->kind == EVENT_CREATED || event->kind == EVENT_ADDED || event->kind == EVENT_REMOVED ||
           becomes_large(event);
}

static uint32_t shard_of(const struct shard *s, const struct id16 *user)
{
    return hash_shard(&s->options.key, user, s->options.shard_count);
}

static bool concerns(const struct shard *s, const struct entry *e, uint32_t destination)
{
    return e->kind == ENTRY_LARGE || shard_of(s, &e->user) == destination;
}

static int reserve(uint8_t **bytes, size_t *max, size_t need)
{
    if (need <= *max)
        return 0;
    size_t wider = *max ? *max : 1024;
    while (wider < need)
        wider *= 2;
    uint8_t *grown = memory_realloc(*bytes, wider);
    if (!grown)
        return -PARLEY_ERR_NOMEM;
    *bytes = grown;
    *max = wider;
    return 0;
}

static void append(uint8_t *bytes, size_t *len, size_t max, const struct entry *e)
{
    struct bytes_writer w = bytes_writer_of(bytes + *len, max - *len);
    put_entry(&w, e);
    parley_assert(!w.failed);
    *len += ENTRY_BYTES;
}

/* -- source */

/* Forgets the queue: the log has it. */
static void queue_drop(struct line *line, uint64_t from)
{
    line->len = 0;
    line->from = from;
}

static void queue_entry(struct line *line, const struct entry *e)
{
    if (line->from > e->position)
        return; /* it was dropped at this very event */
    if (line->len + ENTRY_BYTES > QUEUE_BYTES_MAX ||
        reserve(&line->queue, &line->max, line->len + ENTRY_BYTES) != 0)
        queue_drop(line, e->position + 1);
    else
        append(line->queue, &line->len, line->max, e);
}

void derive_applied(struct shard *s, const struct event *event, uint64_t position)
{
    struct derive *d = s->derive;
    struct entry entries[CREATE_MEMBERS_MAX + 1];
    if (!d || !is_derived_from(event))
        return;
    uint32_t count = entries_of(event, position, entries, CREATE_MEMBERS_MAX + 1);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t first = entries[i].kind == ENTRY_LARGE ? 0 : shard_of(s, &entries[i].user);
        uint32_t end = entries[i].kind == ENTRY_LARGE ? d->count : first + 1;
        for (uint32_t k = first; k < end; k++)
            queue_entry(&d->lines[k], &entries[i]);
    }
}

static bool presses(const struct line *line)
{
    return shard_log_is_long(line->shard) && line->persisted < line->shard->writeback.applied;
}

static void answer(struct line *line, int err)
{
    struct shard_request *request = line->hanging;
    request->derive.press = presses(line);
    line->hanging = NULL;
    request->error = err;
    request->done(request);
}

/* All of the queue; what the destination has already is left to it to skip. */
static void answer_queue(struct line *line, uint64_t applied)
{
    struct shard_request *request = line->hanging;
    request->page = (struct shard_page){
        .entries = line->queue, .len = line->len, .count = (uint32_t)(line->len / ENTRY_BYTES)};
    request->derive.next = applied;
    request->derive.behind = false;
    line->queue = NULL;
    line->max = 0;
    queue_drop(line, applied);
    answer(line, 0);
}

static int read_record(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    struct line *line = owner;
    struct bytes_reader r = bytes_reader_of(bytes.data, bytes.len);
    if (line->bytes_len >= QUEUE_BYTES_MAX) {
        line->read_next = position;
        return -PARLEY_ERR_END;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct event event;
        struct entry entries[CREATE_MEMBERS_MAX + 1];
        if (event_decode(&r, &event) != 0)
            return -PARLEY_ERR_CORRUPT;
        uint32_t n = entries_of(&event, position + i, entries, CREATE_MEMBERS_MAX + 1);
        if (reserve(&line->bytes, &line->bytes_max, line->bytes_len + (size_t)n * ENTRY_BYTES) != 0)
            return -PARLEY_ERR_NOMEM;
        for (uint32_t k = 0; k < n; k++)
            if (concerns(line->shard, &entries[k], line->destination))
                append(line->bytes, &line->bytes_len, line->bytes_max, &entries[k]);
    }
    return 0;
}

static void run_reading(void *owner)
{
    struct line *line = owner;
    line->err = log_read(line->shard->log, line->hanging->derive.from, line->read_to, read_record, line);
    if (line->err == -PARLEY_ERR_END)
        line->err = 0;
}

static void reading_done(void *owner)
{
    struct line *line = owner;
    struct shard_request *request = line->hanging;
    line->shard->job_count--;
    line->reading = false;
    request->page = (struct shard_page){.entries = line->bytes,
                                        .len = line->err ? 0 : line->bytes_len,
                                        .count = (uint32_t)(line->bytes_len / ENTRY_BYTES)};
    request->derive.next = line->read_next;
    line->bytes = NULL;
    line->bytes_len = line->bytes_max = 0;
    answer(line, line->err);
    /* It would ask, and lists would wait, for ever. */
    if (line->err == -PARLEY_ERR_CORRUPT || line->err == -PARLEY_ERR_IO)
        shard_fail(line->shard, line->err, "the log cannot be read again");
}

static void read_log(struct line *line)
{
    struct shard *s = line->shard;
    uint64_t from = line->hanging->derive.from;
    line->read_to = line->from - from > READ_POSITIONS_MAX ? from + READ_POSITIONS_MAX : line->from;
    line->read_next = line->read_to;
    line->job = (struct reader_job){.run = run_reading, .done = reading_done, .owner = line};
    int err = reader_pool_submit(s->options.pool, s->options.reactor, READER_CONSUMER, &line->job);
    if (err) {
        answer(line, err); /* it asks again */
        return;
    }
    line->reading = true;
    s->job_count++;
}

static void release_waiting(struct shard *s, struct line *line, bool all)
{
    while (line->waiting && (all || line->waiting->waits_for_position < line->asked)) {
        struct shard_request *request = line->waiting;
        line->waiting = request->next;
        if (!line->waiting)
            line->waiting_tail = &line->waiting;
        s->waiting_count--;
        request->done(request);
    }
}

/* Answers at once what can be answered. */
static void serve_line(struct shard *s, struct line *line, uint64_t now_ms)
{
    uint64_t applied = s->writeback.applied;
    if (!line->hanging || line->reading)
        return;
    if (s->derive->stopped || s->failed)
        answer(line, -PARLEY_ERR_CLOSING);
    else if (line->hanging->derive.from < line->from)
        read_log(line);
    else if (line->len || line->hanging->derive.behind ||
             (now_ms >= line->next_progress_ms && (applied > line->hanging->derive.from || presses(line))))
        answer_queue(line, applied);
}

void derive_serve(struct shard *s, struct shard_request *request)
{
    struct derive *d = s->derive;
    const struct derive_question *q = &request->derive;
    request->error = 0;
    request->page = (struct shard_page){0};
    parley_assert(d && q->destination < d->count);
    struct line *line = &d->lines[q->destination];
    parley_assert(!line->hanging); /* a destination asks one thing at a time */
    if (q->from > s->writeback.applied || q->from < log_start(s->log)) {
        request->error = -PARLEY_ERR_LOST;
        request->done(request);
        return;
    }
    uint64_t now_ms = clock_monotonic_ms(s->options.clock);
    line->hanging = request;
    line->asked = q->from;
    line->persisted = q->persisted;
    line->next_progress_ms = now_ms + PROGRESS_MS;
    release_waiting(s, line, false);
    serve_line(s, line, now_ms);
}

void derive_answer(struct shard *s, struct shard_request *request, const struct id16 *user, uint64_t position)
{
    struct line *line = s->derive ? &s->derive->lines[shard_of(s, user)] : NULL;
    /* When the destination waits for more and there is none, it has everything that concerns it. */
    bool has_all =
        line && line->hanging && !line->reading && line->len == 0 && line->hanging->derive.from >= line->from;
    if (!line || has_all || line->asked > position || s->derive->stopped) {
        request->done(request);
        return;
    }
    request->waits_for_position = position;
    request->next = NULL;
    *line->waiting_tail = request;
    line->waiting_tail = &request->next;
    s->waiting_count++;
}

uint64_t derive_floor(const struct shard *s)
{
    uint64_t floor = UINT64_MAX;
    for (uint32_t i = 0; s->derive && i < s->derive->count; i++)
        if (s->derive->lines[i].persisted < floor)
            floor = s->derive->lines[i].persisted;
    return floor;
}

/* -- destination */

static void ask(struct shard *s, struct feed *feed);

static void serve_lists(struct shard *s)
{
    struct derive *d = s->derive;
    while (d->lists && (d->behind_count == 0 || d->stopped)) {
        struct shard_request *request = d->lists;
        d->lists = request->next;
        if (!d->lists)
            d->lists_tail = &d->lists;
        s->waiting_count--;
        if (d->behind_count == 0) {
            shard_serve_list(s, request);
        } else {
            request->error = -PARLEY_ERR_CLOSING;
            request->done(request);
        }
    }
}

bool derive_hold_list(struct shard *s, struct shard_request *request)
{
    struct derive *d = s->derive;
    if (!d || d->behind_count == 0 || d->stopped)
        return false;
    request->next = NULL;
    *d->lists_tail = request;
    d->lists_tail = &request->next;
    s->waiting_count++;
    return true;
}

static void caught_up(struct feed *feed, bool behind)
{
    if (!feed->behind || behind)
        return;
    feed->behind = false;
    feed->shard->derive->behind_count--;
    serve_lists(feed->shard);
}

bool derive_is_large(const struct shard *s, const struct id16 *conversation)
{
    return s->derive && large_set_has(&s->derive->large, conversation);
}

bool derive_has_large(const struct shard *s)
{
    return s->derive && s->derive->large.count;
}

static void drop_page(struct feed *feed)
{
    memory_free(feed->page.entries);
    feed->page = (struct shard_page){0};
}

/* Rule 5. Those below the offset are told of again, which does no harm. */
static void tell_large_members(struct shard *s, const struct shard_page *page)
{
    struct bytes_reader r = bytes_reader_of(page->entries, page->len);
    while (s->options.on_large_member && s->derive->large.count && !bytes_reader_done(&r)) {
        struct entry e = get_entry(&r);
        if (e.kind == ENTRY_JOINED && derive_is_large(s, &e.conversation))
            s->options.on_large_member(s->options.owner, &e.user, &e.conversation);
    }
}

static void on_written(void *owner)
{
    struct feed *feed = owner;
    feed->written_out = false;
    feed->offset = feed->writing;
    tell_large_members(feed->shard, &feed->page);
    drop_page(feed);
    caught_up(feed, feed->writing_behind);
    ask(feed->shard, feed);
}

static void drop_batch(struct feed *feed)
{
    store_batch_destroy(&feed->batch);
    drop_page(feed);
}

static void write_out(struct shard *s, struct feed *feed)
{
    int err = store_submit(s->store, &feed->batch, on_written, feed);
    if (!err)
        feed->written_out = true;
    else if (err == -PARLEY_ERR_NOMEM)
        drop_batch(feed); /* incomplete: ask for the same again */
    else if (err != -PARLEY_ERR_FULL)
        shard_fail(s, err, "the store does not take derived rows");
    if (err)
        feed->retry_ms = clock_monotonic_ms(s->options.clock) + RETRY_MS;
}

static int put_entry_row(struct feed *feed, const struct entry *e)
{
    switch (e->kind) {
    case ENTRY_JOINED:
        rows_put_membership(feed->batch, &e->user, &e->conversation, e->id);
        break;
    case ENTRY_LEFT:
        rows_delete_membership(feed->batch, &e->user, &e->conversation);
        break;
    case ENTRY_LARGE:
        rows_put_large(feed->batch, &e->conversation);
        return large_set_add(&feed->shard->derive->large, &e->conversation);
    }
    return 0;
}

/* Owns: takes the page's entries. */
static int put_rows(struct feed *feed, struct shard_page *page, uint64_t next)
{
    struct bytes_reader r = bytes_reader_of(page->entries, page->len);
    int err = store_batch_create(feed->shard->store, &feed->batch);
    feed->page = *page;
    page->entries = NULL;
    while (!err && !bytes_reader_done(&r)) {
        struct entry e = get_entry(&r);
        parley_assert(!r.failed); /* from our own memory */
        if (e.position >= feed->offset)
            err = put_entry_row(feed, &e);
    }
    if (err) {
        drop_batch(feed);
        return err;
    }
    rows_put_offset(feed->batch, feed->question.derive.source, next);
    feed->writing = next;
    feed->writing_behind = feed->question.derive.behind;
    return 0;
}

static void answered(struct shard_request *question)
{
    struct feed *feed = question->owner;
    struct shard *s = feed->shard;
    int err = question->error;
    feed->asking = false;
    s->derive->out_count--;
    if (s->options.ask_ended)
        s->options.ask_ended(s->options.owner);
    if (!err && question->derive.press && !s->pressed) {
        s->pressed = true;
        s->pressed_at = s->flushes;
    }
    if (err == -PARLEY_ERR_LOST) {
        shard_fail(s, err, "a shard's log is shorter than what another shard has derived from it");
    } else if (!err && question->derive.next > feed->offset && !s->derive->stopped) {
        err = put_rows(feed, &question->page, question->derive.next);
        if (!err)
            write_out(s, feed);
    } else if (!err) {
        caught_up(feed, question->derive.behind);
    }
    memory_free(question->page.entries);
    if (err)
        feed->retry_ms = clock_monotonic_ms(s->options.clock) + RETRY_MS;
}

static void ask(struct shard *s, struct feed *feed)
{
    if (s->derive->stopped || s->failed || s->closing)
        return;
    feed->question.derive.from = feed->offset;
    feed->question.derive.persisted = feed->persisted;
    feed->question.derive.behind = feed->behind;
    feed->question.page = (struct shard_page){0};
    feed->asking = true;
    s->derive->out_count++;
    if (s->options.ask(s->options.owner, &feed->question))
        return;
    feed->asking = false;
    s->derive->out_count--;
    s->derive->stopped = true;
}

int derive_load_persisted(struct shard *s)
{
    int err = 0;
    for (uint32_t i = 0; s->derive && i < s->derive->count && !err; i++)
        err = rows_load_offset(s->store, i, STORE_PERSISTED, &s->derive->feeds[i].persisted_found);
    return err;
}

void derive_take_persisted(struct shard *s)
{
    for (uint32_t i = 0; s->derive && i < s->derive->count; i++)
        s->derive->feeds[i].persisted = s->derive->feeds[i].persisted_found;
}

uint64_t derive_offset(const struct shard *s, uint32_t source)
{
    return s->derive ? s->derive->feeds[source].offset : 0;
}

/* -- both */

void derive_turn(struct shard *s)
{
    struct derive *d = s->derive;
    if (!d)
        return;
    uint64_t now_ms = clock_monotonic_ms(s->options.clock);
    for (uint32_t i = 0; i < d->count; i++) {
        struct feed *feed = &d->feeds[i];
        serve_line(s, &d->lines[i], now_ms);
        if (feed->asking || feed->written_out || d->stopped || now_ms < feed->retry_ms)
            continue;
        if (feed->batch)
            write_out(s, feed);
        else
            ask(s, feed);
    }
}

void derive_stop(struct shard *s)
{
    struct derive *d = s->derive;
    if (!d)
        return;
    d->stopped = true;
    for (uint32_t i = 0; i < d->count; i++) {
        serve_line(s, &d->lines[i], 0);
        release_waiting(s, &d->lines[i], true); /* they are committed; the rows follow after the next start */
    }
    serve_lists(s);
}

static int on_large(void *owner, const struct id16 *conversation)
{
    return large_set_add(owner, conversation);
}

int derive_open(struct shard *s, struct derive **out)
{
    uint32_t count = s->options.shard_count;
    *out = NULL;
    if (!count || !s->options.ask)
        return 0;
    struct derive *d = memory_zalloc(sizeof *d);
    int err = d ? 0 : -PARLEY_ERR_NOMEM;
    if (err)
        return err;
    d->count = d->behind_count = count;
    d->lists_tail = &d->lists;
    d->lines = memory_zalloc(count * sizeof *d->lines);
    d->feeds = memory_zalloc(count * sizeof *d->feeds);
    if (!d->lines || !d->feeds)
        err = -PARLEY_ERR_NOMEM;
    if (!err)
        err = rows_scan_large(s->store, on_large, &d->large);
    for (uint32_t i = 0; i < count && !err; i++) {
        struct feed *feed = &d->feeds[i];
        d->lines[i] = (struct line){.shard = s, .destination = i, .from = s->writeback.applied};
        d->lines[i].waiting_tail = &d->lines[i].waiting;
        *feed = (struct feed){.shard = s, .behind = true};
        feed->question = (struct shard_request){.kind = SHARD_DERIVE,
                                                .owner = feed,
                                                .answered = answered,
                                                .derive = {.source = i, .destination = s->options.number}};
        err = rows_load_offset(s->store, i, STORE_ALL, &feed->offset);
        feed->persisted = feed->offset;
    }
    *out = d;
    if (err)
        derive_close(out);
    return err;
}

void derive_close(struct derive **at)
{
    struct derive *d = *at;
    *at = NULL;
    if (!d)
        return;
    for (uint32_t i = 0; d->lines && i < d->count; i++) {
        memory_free(d->lines[i].queue);
        memory_free(d->lines[i].bytes);
    }
    for (uint32_t i = 0; d->feeds && i < d->count; i++)
        drop_batch(&d->feeds[i]);
    memory_free(d->lines);
    large_set_clear(&d->large);
    if (d->out_count) /* another reactor still holds a question of ours; the process ends next */
        return;
    memory_free(d->feeds);
    memory_free(d);
}

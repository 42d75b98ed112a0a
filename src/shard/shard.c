/* Invariants:
 *
 * 1. A record is appended to the log, shown to the machine (decided) and kept in `pending` in one turn, or none of it.
 * 2. `pending` holds exactly the records at log_end .. log_next; they are applied in order as the end rises.
 * 3. Replay and running apply the same bytes through the same function.
 * 4. A request is answered only when the event that its answer rests on is applied. Ids rise, so `waiting` is released
 *    from its head by the last applied id; a refusal behind a younger event waits a little longer, never less.
 * 5. An object that a decision made but no event touched is removed: asking for what is not there costs no memory.
 */
#include "src/shard/shard.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/history.h"
#include "src/shard/objects.h"
#include "src/shard/reads.h"

enum { DECIDE_ROUNDS_MAX = 8, PENDING_HEAD_BYTES = 24, PENDING_BYTES_FIRST = 4096 };

/* Appended, not yet applied records, one behind the other: position u64, session u64, event count u32, length u32, bytes. The log's
 * two blocks bound it. */
struct pending {
    uint8_t *bytes;
    size_t from, to, room;
};

struct shard {
    struct shard_options options;
    struct log *log;
    struct objects objects;
    struct snowflake ids;
    uint64_t applied_id, ceiling;
    struct pending pending;
    struct shard_request *waiting, **waiting_tail;
    uint32_t waiting_count;
    uint8_t *record; /* where a record is encoded */
    bool failed;
};

/* What one decision has at hand. */
struct desk {
    struct machine_view view;
    struct page *pages[MACHINE_KEYS_MAX];
    struct machine_key made[MACHINE_KEYS_MAX * DECIDE_ROUNDS_MAX];
    uint32_t made_count;
};

static void fail(struct shard *s, int err, const char *what)
{
    if (s->failed)
        return;
    s->failed = true;
    s->options.on_fatal(s->options.owner, err, what);
}

static int apply_to(struct shard *s, const struct machine_key *key, const struct event *event,
                    uint64_t position)
{
    void *object;
    bool made;
    int err = objects_get(&s->objects, key, &object, &made);
    if (err)
        return err;
    switch (key->kind) {
    case OBJECT_CONVERSATION:
        return machine_apply_conversation(object, event, position);
    case OBJECT_PAGE:
        return machine_apply_page(object, event, position);
    case OBJECT_USER:
        return machine_apply_user(object, event, position);
    }
    return -PARLEY_ERR_INTERNAL;
}

static void tell_applied(struct shard *s, const struct event *event, uint64_t session)
{
    struct shard_effect effect = {.event = event, .session = session};
    const struct page *pages[MACHINE_FANOUT_PAGES_MAX];
    if (!s->options.on_applied)
        return;
    if (event->kind != EVENT_PROFILE && event->kind != EVENT_TICK)
        effect.conversation = shard_conversation(s, &event->conversation);
    uint32_t count = effect.conversation ? effect.conversation->applied.page_count : 0;
    for (uint32_t i = 0; count <= MACHINE_FANOUT_PAGES_MAX && i < count; i++) {
        pages[effect.page_count] = shard_page(s, &event->conversation, i);
        effect.page_count += pages[effect.page_count] != NULL;
    }
    effect.pages = pages;
    s->options.on_applied(s->options.owner, &effect);
}

/* The session is not looked at in a replay. */
static int apply_record(struct shard *s, uint64_t position, uint32_t count, struct span bytes, bool replay,
                        uint64_t session)
{
    struct bytes_reader r = bytes_reader_of(bytes.data, bytes.len);
    for (uint32_t i = 0; i < count; i++) {
        struct event event;
        struct machine_key keys[MACHINE_KEYS_MAX];
        int err = event_decode(&r, &event);
        uint32_t key_count = err ? 0 : machine_touches(&event, keys);
        for (uint32_t k = 0; k < key_count && !err; k++)
            err = apply_to(s, &keys[k], &event, position + i);
        if (err)
            return err;
        s->applied_id = event.id;
        if (!replay)
            tell_applied(s, &event, session);
    }
    return bytes_reader_done(&r) ? 0 : -PARLEY_ERR_CORRUPT;
}

static int replay_record(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    return apply_record(owner, position, count, bytes, true, 0);
}

/* -- pending records */

static int pending_reserve(struct pending *p, size_t len)
{
    len += PENDING_HEAD_BYTES;
    if (p->from) {
        memmove(p->bytes, p->bytes + p->from, p->to - p->from);
        p->to -= p->from;
        p->from = 0;
    }
    if (len <= p->room - p->to)
        return 0;
    size_t room = p->room ? p->room : PENDING_BYTES_FIRST;
    while (room - p->to < len)
        room *= 2;
    uint8_t *bytes = memory_realloc(p->bytes, room);
    if (!bytes)
        return -PARLEY_ERR_NOMEM;
    p->bytes = bytes;
    p->room = room;
    return 0;
}

static void pending_put(struct pending *p, uint64_t position, uint64_t session, uint32_t count,
                        struct span record)
{
    struct bytes_writer w = bytes_writer_of(p->bytes + p->to, p->room - p->to);
    bytes_put_u64(&w, position);
    bytes_put_u64(&w, session);
    bytes_put_u32(&w, count);
    bytes_put_u32(&w, (uint32_t)record.len);
    bytes_put_raw(&w, record.data, record.len);
    parley_assert(!w.failed);
    p->to += bytes_writer_len(&w);
}

/* -- answers */

static void answer(struct shard *s, struct shard_request *request, uint64_t waits_for_id)
{
    if (waits_for_id <= s->applied_id) {
        request->done(request);
        return;
    }
    request->waits_for_id = waits_for_id;
    request->next = NULL;
    *s->waiting_tail = request;
    s->waiting_tail = &request->next;
    s->waiting_count++;
}

static void release(struct shard *s, bool all)
{
    while (s->waiting && (all || s->waiting->waits_for_id <= s->applied_id)) {
        struct shard_request *request = s->waiting;
        s->waiting = request->next;
        if (!s->waiting)
            s->waiting_tail = &s->waiting;
        s->waiting_count--;
        if (all && request->waits_for_id > s->applied_id)
            request->error =
                -PARLEY_ERR_INTERNAL; /* perhaps committed: the client asks again under the same id */
        request->done(request);
    }
}

static void on_durable(void *owner, uint64_t end)
{
    struct shard *s = owner;
    struct pending *p = &s->pending;
    while (p->from < p->to && !s->failed) {
        struct bytes_reader r = bytes_reader_of(p->bytes + p->from, p->to - p->from);
        uint64_t position = bytes_get_u64(&r), session = bytes_get_u64(&r);
        uint32_t count = bytes_get_u32(&r), len = bytes_get_u32(&r);
        struct span record = bytes_get_raw(&r, len);
        parley_assert(!r.failed);
        if (position >= end)
            break;
        int err = apply_record(s, position, count, record, false, session);
        if (err)
            fail(s, err, "an event that is committed could not be applied");
        p->from += PENDING_HEAD_BYTES + len;
    }
    if (!s->failed)
        release(s, false);
}

static void on_log_fatal(void *owner, int err, const char *what)
{
    fail(owner, err, what);
}

static uint64_t next_ceiling(void *owner)
{
    struct shard *s = owner;
    uint64_t ceiling = snowflake_ceiling(&s->ids, clock_wall_ms(s->options.clock), s->options.lease_ms);
    if (ceiling > s->ceiling)
        s->ceiling = ceiling;
    return s->ceiling;
}

/* -- decisions */

static struct id16 hash128(void *owner, const void *data, size_t len)
{
    const struct shard *s = owner;
    return hash_128(&s->options.key, data, len);
}

static int desk_take(struct shard *s, struct desk *desk, const struct machine_key *key)
{
    void *object;
    bool made;
    int err = objects_get(&s->objects, key, &object, &made);
    if (err)
        return err;
    if (made) {
        parley_assert(desk->made_count < PARLEY_ARRAY_COUNT(desk->made));
        desk->made[desk->made_count++] = *key;
    }
    if (key->kind == OBJECT_CONVERSATION)
        desk->view.conversation = object;
    else if (key->kind == OBJECT_USER)
        desk->view.user = object;
    else
        desk->pages[desk->view.page_count++] = object;
    return 0;
}

/* Everything that the command needs, in two steps: the conversation says which pages. */
static int desk_fill(struct shard *s, struct desk *desk, const struct command *command)
{
    desk->view = (struct machine_view){.pages = desk->pages};
    for (int step = 0; step < 2; step++) {
        struct machine_key keys[MACHINE_KEYS_MAX];
        uint32_t count = machine_needs(command, desk->view.conversation, keys);
        desk->view.page_count = 0;
        for (uint32_t i = 0; i < count; i++) {
            int err = desk_take(s, desk, &keys[i]);
            if (err)
                return err;
        }
        if (!desk->view.conversation)
            break;
    }
    return 0;
}

static void desk_clear(struct shard *s, struct desk *desk)
{
    for (uint32_t i = 0; i < desk->made_count; i++)
        objects_remove(&s->objects, &desk->made[i]);
}

static int decide(struct shard *s, struct desk *desk, const struct command *command, struct verdict *verdict)
{
    struct machine_context context = {.ids = &s->ids,
                                      .now_ms = clock_wall_ms(s->options.clock),
                                      .limits = s->options.limits,
                                      .hasher = {s, hash128}};
    for (int round = 0; round < DECIDE_ROUNDS_MAX; round++) {
        int err = desk_fill(s, desk, command);
        if (err)
            return err;
        machine_decide(command, &desk->view, &context, verdict);
        if (verdict->kind != VERDICT_NEED_OBJECT)
            return 0;
        verdict_clear(verdict);
    }
    return -PARLEY_ERR_INTERNAL;
}

/* Appends the verdict's record; on error nothing has changed but ids that were drawn. */
static int commit(struct shard *s, struct desk *desk, struct verdict *verdict, uint64_t session)
{
    struct bytes_writer w = bytes_writer_of(s->record, LOG_RECORD_BYTES_MAX);
    for (uint32_t i = 0; i < verdict->event_count; i++)
        event_encode(&w, &verdict->events[i]);
    if (w.failed)
        return -PARLEY_ERR_TOO_LARGE;
    struct span record = {s->record, bytes_writer_len(&w)};
    uint64_t position;
    int err = pending_reserve(&s->pending, record.len);
    if (!err)
        err = log_append(s->log, record.data, record.len, verdict->event_count, &position);
    if (err)
        return err;
    machine_decided(&desk->view, verdict, position);
    pending_put(&s->pending, position, session, verdict->event_count, record);
    return 0;
}

static void submit_command(struct shard *s, struct shard_request *request)
{
    struct desk desk = {.made_count = 0};
    struct verdict verdict = {0};
    uint64_t waits_for_id = 0;
    bool kept = false;
    int err = decide(s, &desk, &request->command, &verdict);
    if (!err && verdict.kind == VERDICT_EVENTS) {
        err = commit(s, &desk, &verdict, request->session);
        kept = !err;
        request->id = verdict.events[0].id;
        request->seq = verdict.events[0].seq;
        waits_for_id = kept ? verdict.events[verdict.event_count - 1].id : 0;
    } else if (!err) {
        parley_assert(verdict.kind == VERDICT_REFUSED || verdict.kind == VERDICT_DUPLICATE);
        err = verdict.kind == VERDICT_REFUSED ? verdict.error : 0;
        request->duplicate = verdict.kind == VERDICT_DUPLICATE;
        request->id = verdict.id;
        request->seq = verdict.seq;
        waits_for_id = verdict.basis;
    }
    request->error = err;
    if (!kept)
        desk_clear(s, &desk);
    verdict_clear(&verdict);
    answer(s, request, waits_for_id);
}

/* What is read is applied, so it waits for nothing. */
static int answer_read(struct shard *s, struct shard_request *request)
{
    const struct command *c = &request->command;
    const struct conversation *conversation = shard_conversation(s, &c->conversation);
    uint32_t pages = conversation ? conversation->applied.page_count : 0;
    const struct page *page =
        pages ? shard_page(s, &c->conversation, page_number(&c->actor_hash, pages)) : NULL;
    int err = reads_allowed(c, conversation, page);
    if (err)
        return err;
    switch (request->kind) {
    case SHARD_HISTORY:
        return history_read(conversation, &request->history, &request->page);
    case SHARD_CONVERSATION:
        reads_summary(request, conversation, page);
        return 0;
    case SHARD_MEMBERS:
        page = shard_page(s, &c->conversation, request->from_page);
        return page ? reads_members(request, conversation, page) : -PARLEY_ERR_NOT_FOUND;
    default:
        return -PARLEY_ERR_INTERNAL;
    }
}

void shard_submit(struct shard *s, struct shard_request *request)
{
    request->error = 0;
    request->duplicate = false;
    request->id = request->seq = 0;
    request->page = (struct shard_page){0};
    if (request->kind != SHARD_COMMAND)
        request->error = answer_read(s, request);
    else if (s->failed)
        request->error = -PARLEY_ERR_CLOSING;
    else if (s->waiting_count >= s->options.request_count_max)
        request->error = -PARLEY_ERR_FULL;
    else {
        submit_command(s, request);
        return;
    }
    request->done(request);
}

void shard_turn_end(struct shard *s)
{
    if (s->failed)
        return;
    uint64_t now = clock_wall_ms(s->options.clock);
    /* A lease half used up is renewed, so that announcements of an idle shard can go on. A full log will try again. */
    if (log_idle(s->log) && snowflake_ms(log_ceiling(s->log)) < now + s->options.lease_ms / 2) {
        int err = log_tick(s->log);
        if (err && err != -PARLEY_ERR_FULL && err != -PARLEY_ERR_DISK_FULL)
            fail(s, err, "the log does not take a tick");
    }
    log_poll(s->log, clock_monotonic_ms(s->options.clock));
}

/* -- begin and end */

int shard_open(const struct shard_options *options, struct log_report *report, struct shard **out)
{
    struct shard *s = memory_zalloc(sizeof *s);
    if (!s)
        return -PARLEY_ERR_NOMEM;
    s->options = *options;
    s->waiting_tail = &s->waiting;
    objects_init(&s->objects, &options->dedup);
    struct log_options log = {.dir = options->log_dir,
                              .files = options->files,
                              .segment_bytes = options->segment_bytes,
                              .helper_thread = options->helper_thread,
                              .owner = s,
                              .on_durable = on_durable,
                              .on_fatal = on_log_fatal,
                              .ceiling = next_ceiling};
    s->record = memory_alloc(LOG_RECORD_BYTES_MAX);
    int err = s->record ? log_open(&log, report, &s->log) : -PARLEY_ERR_NOMEM;
    if (err)
        goto free_shard;
    err = log_read(s->log, log_start(s->log), log_end(s->log), replay_record, s);
    if (err)
        goto close_log;
    s->ceiling = report->ceiling > s->applied_id ? report->ceiling : s->applied_id;
    snowflake_init(&s->ids, options->number, s->ceiling);
    *out = s;
    return 0;

close_log:
    log_close(&s->log);
    objects_clear(&s->objects);
free_shard:
    memory_free(s->record);
    memory_free(s);
    return err;
}

void shard_close(struct shard **at)
{
    struct shard *s = *at;
    *at = NULL;
    if (!s)
        return;
    log_close(&s->log); /* commits: on_durable applies and answers */
    release(s, true);
    objects_clear(&s->objects);
    memory_free(s->pending.bytes);
    memory_free(s->record);
    memory_free(s);
}

const struct conversation *shard_conversation(const struct shard *s, const struct id16 *id)
{
    return objects_find(&s->objects, &(struct machine_key){.kind = OBJECT_CONVERSATION, .id = *id});
}

const struct page *shard_page(const struct shard *s, const struct id16 *conversation, uint32_t number)
{
    return objects_find(&s->objects,
                        &(struct machine_key){.kind = OBJECT_PAGE, .id = *conversation, .page = number});
}

const struct user *shard_user(const struct shard *s, const struct id16 *hash)
{
    return objects_find(&s->objects, &(struct machine_key){.kind = OBJECT_USER, .id = *hash});
}

uint64_t shard_applied_id(const struct shard *s)
{
    return s->applied_id;
}

uint32_t shard_object_count(const struct shard *s)
{
    return s->objects.count;
}

uint32_t shard_waiting_count(const struct shard *s)
{
    return s->waiting_count;
}

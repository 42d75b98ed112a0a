/* What is committed: applied, answered, told. */
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/shard_internal.h"

enum { PENDING_HEAD_BYTES = 24, PENDING_BYTES_FIRST = 4096 };

/* An object whose position covers the event has it already. */
static int apply_event(struct shard *s, const struct event *event, uint64_t position, size_t event_bytes,
                       bool replay)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    uint32_t count = machine_touches(event, keys);
    for (uint32_t i = 0; i < count; i++) {
        struct object *node = objects_find(&s->objects, &keys[i]);
        int err = 0;
        if (replay)
            err = shard_need_now(s, &keys[i], &node);
        else
            parley_assert(node && node->is.any); /* it was decided upon, so it stayed */
        if (!err && object_position(node) >= position)
            continue;
        if (!err)
            err = object_apply(node, event, position);
        if (err)
            return err;
        objects_used(&s->objects, node);
        objects_grew(&s->objects, node, event_bytes);
        writeback_touched(&s->writeback, node, position, event_bytes, s->log_written);
    }
    return 0;
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
        const uint8_t *from = r.at;
        int err = event_decode(&r, &event);
        if (!err)
            err = apply_event(s, &event, position + i, (size_t)(r.at - from), replay);
        if (err)
            return err;
        s->applied_id = event.id;
        s->writeback.applied = position + i + 1;
        if (!replay) {
            derive_applied(s, &event, position + i);
            tell_applied(s, &event, session);
        }
    }
    s->log_written += bytes.len;
    return bytes_reader_done(&r) ? 0 : -PARLEY_ERR_CORRUPT;
}

int shard_replay_record(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    struct shard *s = owner;
    int err = apply_record(s, position, count, bytes, true, 0);
    if (!err)
        err = shard_write_back_replayed(s);
    if (!err)
        shard_evict(s);
    return err;
}

/* -- pending records */

int shard_pending_reserve(struct shard *s, size_t len)
{
    struct pending *p = &s->pending;
    len += PENDING_HEAD_BYTES;
    if (len <= p->room - p->to)
        return 0;
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

void shard_pending_put(struct shard *s, uint64_t position, uint64_t session, uint32_t count,
                       struct span record)
{
    struct pending *p = &s->pending;
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

/* Whose list must show what the command did before it is answered. */
static const struct id16 *listed_user(const struct command *c)
{
    if (c->kind == COMMAND_ADD)
        return &c->target_hash;
    /* A service may open a direct conversation of two others. */
    bool of_others = c->service && c->type == CONVERSATION_DIRECT && c->member_count == 2;
    return of_others ? &c->members[0].hash : &c->actor_hash;
}

static void answer_applied(struct shard *s, struct shard_request *request)
{
    if (request->waits_for_position && !request->error)
        derive_answer(s, request, listed_user(&request->command), request->waits_for_position);
    else
        request->done(request);
}

void shard_answer(struct shard *s, struct shard_request *request, uint64_t waits_for_id)
{
    if (waits_for_id <= s->applied_id) {
        answer_applied(s, request);
        return;
    }
    request->waits_for_id = waits_for_id;
    request->next = NULL;
    *s->waiting_tail = request;
    s->waiting_tail = &request->next;
    s->waiting_count++;
}

void shard_release(struct shard *s, bool all)
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
        answer_applied(s, request);
    }
}

void shard_on_durable(void *owner, uint64_t end)
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
            shard_fail(s, err, "an event that is committed could not be applied");
        p->from += PENDING_HEAD_BYTES + len;
    }
    s->applied_ms = clock_monotonic_ms(s->options.clock);
    if (!s->failed)
        shard_release(s, false);
}

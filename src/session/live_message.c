#include "src/session/live_message.h"

#include <string.h>

#include "src/base/memory.h"

static bool has_target(unsigned kind)
{
    return kind == EVENT_ADDED || kind == EVENT_REMOVED || kind == EVENT_ROLE || kind == EVENT_RECEIPT;
}

bool live_has_target(const struct event *event)
{
    return has_target(event->kind);
}

struct live_message *live_message_create(const struct event *event, uint64_t session, struct span encoded)
{
    struct live_message *m = memory_alloc(sizeof *m + encoded.len);
    if (!m)
        return NULL;
    atomic_init(&m->references, 1);
    m->kind = (uint8_t)event->kind;
    m->large = false;
    m->conversation = event->conversation;
    m->target = live_has_target(event) ? event->target_hash : (struct id16){{0}};
    m->id = event->id;
    m->seq = event->kind == EVENT_MESSAGE ? event->seq : 0;
    m->session = session;
    m->len = (uint32_t)encoded.len;
    if (encoded.len)
        memcpy(m->bytes, encoded.data, encoded.len);
    return m;
}

struct live_message *live_message_passing(const struct id16 *conversation, uint64_t session,
                                          struct span encoded)
{
    struct live_message *m = memory_zalloc(sizeof *m + encoded.len);
    if (!m)
        return NULL;
    atomic_init(&m->references, 1);
    m->conversation = *conversation;
    m->session = session;
    m->len = (uint32_t)encoded.len;
    if (encoded.len)
        memcpy(m->bytes, encoded.data, encoded.len);
    return m;
}

struct live_message *live_message_hint(const struct id16 *conversation)
{
    struct live_message *m = live_message_passing(conversation, 0, (struct span){0});
    if (m)
        m->large = true;
    return m;
}

bool live_message_targets(const struct live_message *m, const struct id16 *user)
{
    return has_target(m->kind) && memcmp(m->target.bytes, user->bytes, sizeof user->bytes) == 0;
}

struct live_message *live_message_take(struct live_message *m)
{
    uint32_t before = atomic_fetch_add_explicit(&m->references, 1, memory_order_relaxed);
    parley_assert(before > 0);
    return m;
}

void live_message_release(struct live_message **message)
{
    struct live_message *m = *message;
    *message = NULL;
    /* Release and acquire: what the others read of it happened before it is freed. */
    if (m && atomic_fetch_sub_explicit(&m->references, 1, memory_order_acq_rel) == 1)
        memory_free(m);
}

struct live_parcel *live_parcel_create(struct live_message *message, uint32_t count_max)
{
    struct live_parcel *p = memory_alloc(sizeof *p + count_max * sizeof p->users[0]);
    if (!p)
        return NULL;
    p->message = live_message_take(message);
    p->count = 0;
    return p;
}

void live_parcel_destroy(struct live_parcel **parcel)
{
    if (*parcel)
        live_message_release(&(*parcel)->message);
    memory_free(*parcel);
    *parcel = NULL;
}

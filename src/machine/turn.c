#include "src/machine/turn.h"

#include "src/base/error.h"
#include "src/base/memory.h"

enum { HASHED_BYTES_MAX = 8192 };

/* -- hashes */

static struct id16 hash_of(const struct hasher *h, const struct bytes_writer *w)
{
    parley_assert(!w->failed);
    return h->hash128(h->owner, w->start, bytes_writer_len(w));
}

struct id16 conversation_id_direct(const struct hasher *h, struct span a, struct span b)
{
    uint8_t buf[2 * USER_ID_BYTES_MAX + 16];
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.data, b.data, len) : 0;
    bool swap = order > 0 || (order == 0 && a.len > b.len);
    bytes_put_u8(&w, CONVERSATION_DIRECT);
    bytes_put_span(&w, swap ? b : a);
    bytes_put_span(&w, swap ? a : b);
    return hash_of(h, &w);
}

struct id16 conversation_id_group(const struct hasher *h, enum conversation_type type, struct span creator,
                                  struct span client_id)
{
    uint8_t buf[USER_ID_BYTES_MAX + CLIENT_ID_BYTES_MAX + 16];
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    bytes_put_u8(&w, (uint8_t)type);
    bytes_put_span(&w, creator);
    bytes_put_span(&w, client_id);
    return hash_of(h, &w);
}

struct id16 machine_fingerprint(const struct hasher *hasher, struct span actor, struct span client_id)
{
    uint8_t buf[USER_ID_BYTES_MAX + CLIENT_ID_BYTES_MAX + 16];
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    bytes_put_span(&w, actor);
    bytes_put_span(&w, client_id);
    return hash_of(hasher, &w);
}

void turn_hash_fingerprint(struct turn *t)
{
    t->fingerprint = machine_fingerprint(&t->ctx->hasher, t->cmd->actor, t->cmd->client_id);
}

void turn_hash_payload(struct turn *t)
{
    const struct command *c = t->cmd;
    const struct hasher *h = &t->ctx->hasher;
    uint8_t buf[HASHED_BYTES_MAX];
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    struct id16 body = h->hash128(h->owner, c->body.data, c->body.len); /* apart: it may be large */
    bytes_put_u8(&w, (uint8_t)c->kind);
    bytes_put_u8(&w, (uint8_t)c->type);
    bytes_put_u8(&w, (uint8_t)c->role);
    bytes_put_span(&w, c->title);
    bytes_put_span(&w, c->target);
    bytes_put_span(&w, c->content_type);
    bytes_put_span(&w, c->display_name);
    bytes_put_varint(&w, c->created_at_ms);
    bytes_put_id16(&w, &body);
    for (uint32_t i = 0; i < c->member_count; i++) {
        bytes_put_id16(&w, &c->members[i].hash);
        bytes_put_u8(&w, (uint8_t)c->members[i].role);
    }
    struct id16 payload = hash_of(h, &w);
    struct bytes_reader r = bytes_reader_of(payload.bytes, sizeof payload.bytes);
    t->payload_hash = bytes_get_u64(&r);
}

/* -- answers */

uint64_t turn_if_uncommitted(const struct conversation *c, uint64_t id)
{
    return id > c->applied.last_event_id ? id : 0;
}

void turn_refuse(struct turn *t, int error)
{
    t->v->kind = VERDICT_REFUSED;
    t->v->error = error;
    t->v->basis = t->conv && error != -PARLEY_ERR_NOMEM ? conversation_basis(t->conv) : 0;
}

void turn_answer_first(struct turn *t, uint64_t id, uint64_t seq, uint64_t basis)
{
    t->v->kind = VERDICT_DUPLICATE;
    t->v->id = id;
    t->v->seq = seq;
    t->v->basis = basis;
}

void turn_need(struct turn *t, struct machine_key key)
{
    t->v->kind = VERDICT_NEED_OBJECT;
    t->v->need = key;
}

void turn_conclude(struct turn *t)
{
    if (t->conv && conversation_reserve(t->conv)) { /* one entry: a split has no client id */
        turn_refuse(t, -PARLEY_ERR_NOMEM);
        return;
    }
    t->v->kind = VERDICT_EVENTS;
    t->v->id = t->v->events[0].id;
    t->v->seq = t->v->events[0].seq;
    t->v->basis = t->v->id;
}

/* -- looking */

struct page *turn_page(struct turn *t, uint32_t number)
{
    for (uint32_t i = 0; i < t->view->page_count; i++)
        if (t->view->pages[i]->number == number && same_id(&t->view->pages[i]->conversation, &t->conv->id))
            return t->view->pages[i];
    turn_need(t, (struct machine_key){.kind = OBJECT_PAGE, .id = t->conv->id, .page = number});
    return NULL;
}

static struct verdict_page *staged(struct turn *t, struct page *page)
{
    for (uint32_t i = 0; i < t->v->page_count; i++)
        if (t->v->pages[i].page == page)
            return &t->v->pages[i];
    return NULL;
}

/* The members of a page after the events so far of this verdict. */
const struct page_members *turn_members(struct turn *t, struct page *page)
{
    struct verdict_page *s = staged(t, page);
    return s ? s->next : page_view(page);
}

/* The role of who is in now, or 0. */
unsigned turn_role(const struct member *m)
{
    return m && member_active(m) ? m->role : 0;
}

bool turn_find_member(struct turn *t, const struct id16 *hash, const struct member **out)
{
    struct page *page = turn_page(t, page_number(hash, t->conv->ahead.page_count));
    if (!page)
        return false;
    *out = page_find(page_view(page), hash);
    return true;
}

uint32_t turn_members_max(const struct turn *t, unsigned type)
{
    return type == CONVERSATION_CHANNEL ? t->ctx->limits.channel_members_max
           : type == CONVERSATION_GROUP ? t->ctx->limits.group_members_max
                                        : 2;
}

/* -- events, and what they make of pages */

struct event *turn_event(struct turn *t, enum event_kind kind)
{
    parley_assert(t->v->event_count < MACHINE_EVENTS_MAX);
    struct event *e = &t->v->events[t->v->event_count++];
    *e = (struct event){.kind = kind,
                        .id = snowflake_next(t->ctx->ids, t->ctx->now_ms),
                        .time_ms = t->ctx->now_ms,
                        .conversation = t->cmd->conversation};
    if (kind != EVENT_SPLIT && kind != EVENT_RECEIPT) { /* these have no client id: nobody retries them */
        e->actor = t->cmd->actor;
        e->client_id = t->cmd->client_id;
        e->fingerprint = t->fingerprint;
        e->payload_hash = t->payload_hash;
    }
    return e;
}

/* Makes the last event's pages; false after an answer. */
bool turn_stage(struct turn *t)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    const struct event *e = &t->v->events[t->v->event_count - 1];
    uint32_t count = machine_touches(e, keys);
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i].kind != OBJECT_PAGE)
            continue;
        struct page *page = turn_page(t, keys[i].page);
        if (!page)
            return false;
        struct page_members *next = NULL;
        int rc = page_members_after(turn_members(t, page), page->number, e, &next);
        if (rc) {
            turn_refuse(t, rc);
            return false;
        }
        struct verdict_page *s = staged(t, page);
        if (!s) {
            parley_assert(t->v->page_count < MACHINE_PAGES_MAX);
            s = &t->v->pages[t->v->page_count++];
            *s = (struct verdict_page){.page = page};
        }
        page_members_destroy(&s->next);
        s->next = next;
        s->event = t->v->event_count - 1;
    }
    return true;
}

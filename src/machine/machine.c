#include "src/machine/machine.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"

enum { HASHED_BYTES_MAX = 8192 };

struct turn { /* what one decision works with */
    const struct command *cmd;
    const struct machine_view *view;
    const struct machine_context *ctx;
    struct conversation *conv;
    struct verdict *v;
    struct id16 fingerprint;
    uint64_t payload_hash;
};

static bool same(const struct id16 *a, const struct id16 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* --- hashes ------------------------------------------------------------------------------------------- */

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

static void hash_fingerprint(struct turn *t)
{
    uint8_t buf[USER_ID_BYTES_MAX + CLIENT_ID_BYTES_MAX + 16];
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    bytes_put_span(&w, t->cmd->actor);
    bytes_put_span(&w, t->cmd->client_id);
    t->fingerprint = hash_of(&t->ctx->hasher, &w);
}

static void hash_payload(struct turn *t)
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

/* --- answers ------------------------------------------------------------------------------------------ */

static uint64_t if_uncommitted(const struct conversation *c, uint64_t id)
{
    return id > c->applied.last_event_id ? id : 0;
}

static void refuse(struct turn *t, int error)
{
    t->v->kind = VERDICT_REFUSED;
    t->v->error = error;
    t->v->basis = t->conv && error != -PARLEY_ERR_NOMEM ? conversation_basis(t->conv) : 0;
}

static void answer_first(struct turn *t, uint64_t id, uint64_t seq, uint64_t basis)
{
    t->v->kind = VERDICT_DUPLICATE;
    t->v->id = id;
    t->v->seq = seq;
    t->v->basis = basis;
}

static void need(struct turn *t, struct machine_key key)
{
    t->v->kind = VERDICT_NEED_OBJECT;
    t->v->need = key;
}

void verdict_clear(struct verdict *v)
{
    for (uint32_t i = 0; i < v->page_count; i++)
        page_members_destroy(&v->pages[i].next);
    memory_free(v->members);
    *v = (struct verdict){0};
}

/* --- the form of a command ---------------------------------------------------------------------------- */

static int check_text(struct span s, size_t min, size_t max)
{
    if (s.len < min)
        return -PARLEY_ERR_BAD_REQUEST;
    if (s.len > max)
        return -PARLEY_ERR_TOO_LARGE;
    return utf8_valid(s) ? 0 : -PARLEY_ERR_BAD_UTF8;
}

static int check_create(const struct command *c)
{
    if (c->type < CONVERSATION_DIRECT || c->type > CONVERSATION_CHANNEL)
        return -PARLEY_ERR_BAD_REQUEST;
    if (c->member_count > CREATE_MEMBERS_MAX)
        return -PARLEY_ERR_LIMIT;
    int rc = check_text(c->title, 0, TITLE_BYTES_MAX);
    for (uint32_t i = 0; rc == 0 && i < c->member_count; i++) {
        rc = check_text(c->members[i].user, 1, USER_ID_BYTES_MAX);
        if (rc == 0 && (c->members[i].role > ROLE_OWNER))
            rc = -PARLEY_ERR_BAD_REQUEST;
    }
    return rc;
}

static int check_send(const struct command *c)
{
    int rc = check_text(c->content_type, 0, CONTENT_TYPE_BYTES_MAX);
    if (rc == 0 && c->body.len == 0)
        rc = -PARLEY_ERR_BAD_REQUEST;
    if (rc == 0 && c->body.len > BODY_BYTES_MAX)
        rc = -PARLEY_ERR_TOO_LARGE;
    if (rc == 0 && event_body_is_text(c->content_type) && !utf8_valid(c->body))
        rc = -PARLEY_ERR_BAD_UTF8;
    return rc;
}

/* What the formats of events and rows can hold at all; the configured limits are judged after dedup. */
static int check_form(const struct command *c)
{
    int rc = check_text(c->actor, 1, USER_ID_BYTES_MAX);
    if (rc == 0)
        rc = check_text(c->client_id, 1, CLIENT_ID_BYTES_MAX);
    if (rc == 0)
        rc = check_text(c->device, 0, DEVICE_ID_BYTES_MAX);
    if (rc)
        return rc;
    switch (c->kind) {
    case COMMAND_CREATE:
        return check_create(c);
    case COMMAND_ADD:
    case COMMAND_REMOVE:
        rc = c->role > ROLE_OWNER ? -PARLEY_ERR_BAD_REQUEST : 0;
        break;
    case COMMAND_ROLE:
        rc = c->role < ROLE_READ_ONLY || c->role > ROLE_OWNER ? -PARLEY_ERR_BAD_REQUEST : 0;
        break;
    case COMMAND_SEND:
        return check_send(c);
    case COMMAND_PROFILE:
        return check_text(c->display_name, 0, DISPLAY_NAME_BYTES_MAX);
    default:
        return -PARLEY_ERR_BAD_REQUEST;
    }
    return rc ? rc : check_text(c->target, 1, USER_ID_BYTES_MAX);
}

/* --- keys --------------------------------------------------------------------------------------------- */

struct key_list {
    struct machine_key *keys;
    uint32_t count;
};

static void want(struct key_list *l, enum object_kind kind, const struct id16 *id, uint32_t page)
{
    for (uint32_t i = 0; i < l->count; i++)
        if (l->keys[i].kind == kind && l->keys[i].page == page && same(&l->keys[i].id, id))
            return;
    parley_assert(l->count < MACHINE_KEYS_MAX);
    l->keys[l->count++] = (struct machine_key){.kind = kind, .id = *id, .page = page};
}

static void want_pages(struct key_list *l, const struct id16 *id, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        want(l, OBJECT_PAGE, id, i);
}

/* With one more in it, is a page to be split? */
static bool split_due(const struct conversation_counts *n)
{
    return n->entries + 1ull > (uint64_t)PAGE_MEMBERS_MEAN * n->page_count && n->page_count < PAGE_COUNT_MAX;
}

uint32_t machine_needs(const struct command *c, const struct conversation *conv,
                       struct machine_key keys[MACHINE_KEYS_MAX])
{
    struct key_list l = {.keys = keys};
    if (c->kind == COMMAND_PROFILE) {
        want(&l, OBJECT_USER, &c->actor_hash, 0);
        return l.count;
    }
    want(&l, OBJECT_CONVERSATION, &c->conversation, 0);
    if (!conv)
        return l.count;
    const struct conversation_counts *n = &conv->ahead;
    if (c->kind == COMMAND_CREATE) {
        if (!n->exists && c->member_count <= CREATE_MEMBERS_MAX)
            want_pages(&l, &c->conversation, page_count_for(c->member_count + 1));
        return l.count;
    }
    if (!n->exists)
        return l.count;
    want(&l, OBJECT_PAGE, &c->conversation, page_number(&c->actor_hash, n->page_count));
    if (n->page_count <= MACHINE_FANOUT_PAGES_MAX)
        want_pages(&l, &c->conversation, n->page_count);
    if (c->kind == COMMAND_SEND)
        return l.count;
    want(&l, OBJECT_PAGE, &c->conversation, page_number(&c->target_hash, n->page_count));
    if (c->kind == COMMAND_ADD && split_due(n)) {
        want(&l, OBJECT_PAGE, &c->conversation, page_to_split(n->page_count));
        want(&l, OBJECT_PAGE, &c->conversation, n->page_count);
    }
    return l.count;
}

uint32_t machine_touches(const struct event *e, struct machine_key keys[MACHINE_KEYS_MAX])
{
    struct key_list l = {.keys = keys};
    if (e->kind == EVENT_PROFILE)
        want(&l, OBJECT_USER, &e->target_hash, 0);
    if (e->kind == EVENT_PROFILE || e->kind == EVENT_TICK)
        return l.count;
    want(&l, OBJECT_CONVERSATION, &e->conversation, 0);
    if (e->kind == EVENT_CREATED)
        want_pages(&l, &e->conversation, e->page_count);
    if (e->kind == EVENT_ADDED || e->kind == EVENT_REMOVED || e->kind == EVENT_ROLE)
        want(&l, OBJECT_PAGE, &e->conversation, e->page);
    if (e->kind == EVENT_SPLIT) {
        want(&l, OBJECT_PAGE, &e->conversation, e->from_page);
        want(&l, OBJECT_PAGE, &e->conversation, e->to_page);
    }
    return l.count;
}

/* --- events, and what they make of pages -------------------------------------------------------------- */

static struct page *page_of(struct turn *t, uint32_t number)
{
    for (uint32_t i = 0; i < t->view->page_count; i++)
        if (t->view->pages[i]->number == number && same(&t->view->pages[i]->conversation, &t->conv->id))
            return t->view->pages[i];
    need(t, (struct machine_key){.kind = OBJECT_PAGE, .id = t->conv->id, .page = number});
    return NULL;
}

static struct event *new_event(struct turn *t, enum event_kind kind)
{
    parley_assert(t->v->event_count < MACHINE_EVENTS_MAX);
    struct event *e = &t->v->events[t->v->event_count++];
    *e = (struct event){.kind = kind,
                        .id = snowflake_next(t->ctx->ids, t->ctx->now_ms),
                        .time_ms = t->ctx->now_ms,
                        .conversation = t->cmd->conversation};
    if (kind != EVENT_SPLIT) { /* a split follows from another event, no command asked for it */
        e->actor = t->cmd->actor;
        e->client_id = t->cmd->client_id;
        e->fingerprint = t->fingerprint;
        e->payload_hash = t->payload_hash;
    }
    return e;
}

static struct verdict_page *staged(struct turn *t, struct page *page)
{
    for (uint32_t i = 0; i < t->v->page_count; i++)
        if (t->v->pages[i].page == page)
            return &t->v->pages[i];
    return NULL;
}

/* The members of a page after the events so far of this verdict. */
static const struct page_members *members_now(struct turn *t, struct page *page)
{
    struct verdict_page *s = staged(t, page);
    return s ? s->next : page_view(page);
}

/* Makes the last event's pages; false after an answer. */
static bool stage(struct turn *t)
{
    struct machine_key keys[MACHINE_KEYS_MAX];
    const struct event *e = &t->v->events[t->v->event_count - 1];
    uint32_t count = machine_touches(e, keys);
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i].kind != OBJECT_PAGE)
            continue;
        struct page *page = page_of(t, keys[i].page);
        if (!page)
            return false;
        struct page_members *next = NULL;
        int rc = page_members_after(members_now(t, page), page->number, e, &next);
        if (rc) {
            refuse(t, rc);
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

static void conclude(struct turn *t)
{
    if (t->conv && conversation_reserve(t->conv)) { /* one entry: a split has no client id */
        refuse(t, -PARLEY_ERR_NOMEM);
        return;
    }
    t->v->kind = VERDICT_EVENTS;
    t->v->id = t->v->events[0].id;
    t->v->seq = t->v->events[0].seq;
    t->v->basis = t->v->id;
}

/* --- creating ----------------------------------------------------------------------------------------- */

/* The first members, each once; the creator first unless a service creates a direct one for two others. */
static uint32_t first_members(const struct command *c, struct command_member *out)
{
    uint32_t count = 0;
    enum member_role own = c->type == CONVERSATION_DIRECT ? ROLE_MEMBER : ROLE_OWNER;
    if (!(c->service && c->type == CONVERSATION_DIRECT && c->member_count == 2))
        out[count++] = (struct command_member){c->actor, c->actor_hash, own};
    for (uint32_t i = 0; i < c->member_count; i++) {
        bool known = false;
        for (uint32_t j = 0; j < count && !known; j++)
            known = same(&out[j].hash, &c->members[i].hash);
        if (known)
            continue;
        out[count] = c->members[i];
        if (out[count].role == 0 || c->type == CONVERSATION_DIRECT)
            out[count].role = ROLE_MEMBER;
        count++;
    }
    return count;
}

static uint32_t members_max(const struct turn *t, unsigned type)
{
    return type == CONVERSATION_CHANNEL ? t->ctx->limits.channel_members_max
           : type == CONVERSATION_GROUP ? t->ctx->limits.group_members_max
                                        : 2;
}

static void decide_create(struct turn *t)
{
    const struct command *c = t->cmd;
    struct command_member members[CREATE_MEMBERS_MAX + 1];
    uint32_t count = first_members(c, members);
    if (c->type == CONVERSATION_DIRECT && (count != 2 || c->title.len)) {
        refuse(t, -PARLEY_ERR_BAD_REQUEST);
        return;
    }
    if (c->title.len > t->ctx->limits.title_bytes_max) {
        refuse(t, -PARLEY_ERR_TOO_LARGE);
        return;
    }
    if (count > members_max(t, c->type) || count > CREATE_MEMBERS_MAX) {
        refuse(t, -PARLEY_ERR_LIMIT);
        return;
    }
    size_t max = (size_t)count * (20 + USER_ID_BYTES_MAX);
    t->v->members = memory_alloc(max);
    if (!t->v->members) {
        refuse(t, -PARLEY_ERR_NOMEM);
        return;
    }
    struct bytes_writer w = bytes_writer_of(t->v->members, max);
    for (uint32_t i = 0; i < count; i++)
        member_put_new(&w, &members[i].hash, members[i].role, members[i].user);
    parley_assert(!w.failed);
    struct event *e = new_event(t, EVENT_CREATED);
    e->type = c->type;
    e->title = c->title;
    e->page_count = page_count_for(count);
    e->members = (struct span){t->v->members, bytes_writer_len(&w)};
    e->member_count = count;
    if (stage(t))
        conclude(t);
}

/* --- members ------------------------------------------------------------------------------------------ */

struct member_pair { /* NULL: never was a member */
    const struct member *actor, *target;
};

/* The role of who is in now, or 0. */
static unsigned role_of(const struct member *m)
{
    return m && member_active(m) ? m->role : 0;
}

static bool find_member(struct turn *t, const struct id16 *hash, const struct member **out)
{
    struct page *page = page_of(t, page_number(hash, t->conv->ahead.page_count));
    if (!page)
        return false;
    *out = page_find(page_view(page), hash);
    return true;
}

static bool find_pair(struct turn *t, struct member_pair *p)
{
    return find_member(t, &t->cmd->actor_hash, &p->actor) && find_member(t, &t->cmd->target_hash, &p->target);
}

static struct event *new_target_event(struct turn *t, enum event_kind kind, const struct member *target,
                                      unsigned role)
{
    struct event *e = new_event(t, kind);
    e->target = t->cmd->target;
    e->target_hash = t->cmd->target_hash;
    e->page = page_number(&t->cmd->target_hash, t->conv->ahead.page_count);
    e->role = (enum member_role)role;
    e->former = target ? (enum member_role)target->role : 0;
    return e;
}

/* May he add, and with which role? 0 after a refusal's error in *error. */
static unsigned added_role(const struct turn *t, const struct member_pair *p, int *error)
{
    const struct command *c = t->cmd;
    unsigned actor = role_of(p->actor), role = c->role ? c->role : ROLE_MEMBER;
    *error = -PARLEY_ERR_FORBIDDEN;
    if (c->service)
        return role;
    if (t->conv->type == CONVERSATION_CHANNEL && same(&c->actor_hash, &c->target_hash)) {
        /* Whoever may only read does not get rid of that by leaving and joining. */
        if (p->target && p->target->role == ROLE_READ_ONLY)
            role = ROLE_READ_ONLY;
        return role <= ROLE_MEMBER ? role : 0;
    }
    if (actor == 0)
        *error = -PARLEY_ERR_NOT_MEMBER;
    if (actor < ROLE_ADMIN || (role > ROLE_MEMBER && actor != ROLE_OWNER))
        return 0;
    return role;
}

/* Moves about half of the page whose turn it is, when there are too many members per page. */
static bool split(struct turn *t, bool is_new)
{
    const struct conversation_counts *n = &t->conv->ahead;
    if (!is_new || !split_due(n))
        return true;
    struct page *from = page_of(t, page_to_split(n->page_count));
    struct page *to = from ? page_of(t, n->page_count) : NULL;
    if (!to)
        return false;
    const struct page_members *m = members_now(t, from);
    size_t max = 1;
    for (uint32_t i = 0; i < m->count; i++)
        max += 100 + m->list[i].interval_count * sizeof(struct member_interval);
    t->v->members = memory_alloc(max);
    if (!t->v->members) {
        refuse(t, -PARLEY_ERR_NOMEM);
        return false;
    }
    struct event *e = new_event(t, EVENT_SPLIT);
    struct bytes_writer w = bytes_writer_of(t->v->members, max);
    e->page_count = n->page_count + 1;
    e->from_page = from->number;
    e->to_page = to->number;
    for (uint32_t i = 0; i < m->count; i++) {
        if (page_number(&m->list[i].hash, e->page_count) != e->to_page)
            continue;
        member_put(&w, &m->list[i]);
        e->member_count++;
    }
    parley_assert(!w.failed);
    e->members = (struct span){t->v->members, bytes_writer_len(&w)};
    return stage(t);
}

static void decide_add(struct turn *t)
{
    struct member_pair p = {0};
    if (!find_pair(t, &p))
        return;
    int error = 0;
    unsigned role = t->conv->type == CONVERSATION_DIRECT ? 0 : added_role(t, &p, &error);
    if (role == 0) {
        refuse(t, error ? error : -PARLEY_ERR_FORBIDDEN);
        return;
    }
    if (role_of(p.target)) { /* he is in already: that is the result */
        uint64_t joined = member_intervals(p.target)[p.target->interval_count - 1].joined;
        answer_first(t, joined, 0, conversation_basis(t->conv));
        return;
    }
    struct page *page = page_of(t, page_number(&t->cmd->target_hash, t->conv->ahead.page_count));
    if (t->conv->ahead.members >= members_max(t, t->conv->type) ||
        (p.target && p.target->interval_count >= MEMBER_INTERVALS_MAX) ||
        (!p.target && page_view(page)->count >= PAGE_MEMBERS_MAX)) {
        refuse(t, -PARLEY_ERR_LIMIT);
        return;
    }
    bool is_new = !p.target;
    new_target_event(t, EVENT_ADDED, p.target, role);
    if (stage(t) && split(t, is_new))
        conclude(t);
}

static int judge_remove(const struct turn *t, const struct member_pair *p)
{
    unsigned actor = role_of(p->actor), target = role_of(p->target);
    bool self = same(&t->cmd->actor_hash, &t->cmd->target_hash);
    const struct conversation_counts *n = &t->conv->ahead;
    if (t->conv->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (!t->cmd->service && actor == 0)
        return -PARLEY_ERR_NOT_MEMBER;
    if (target == 0)
        return -PARLEY_ERR_NOT_FOUND;
    if (t->cmd->service)
        return 0;
    if (self)
        return target == ROLE_OWNER && n->owners == 1 && n->members > 1 ? -PARLEY_ERR_LAST_OWNER : 0;
    return actor >= ROLE_ADMIN && actor > target ? 0 : -PARLEY_ERR_FORBIDDEN;
}

static int judge_role(const struct turn *t, const struct member_pair *p)
{
    unsigned actor = role_of(p->actor), target = role_of(p->target);
    if (t->conv->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (!t->cmd->service && actor != ROLE_OWNER)
        return actor ? -PARLEY_ERR_FORBIDDEN : -PARLEY_ERR_NOT_MEMBER;
    if (target == 0)
        return -PARLEY_ERR_NOT_FOUND;
    if (target == ROLE_OWNER && t->cmd->role != ROLE_OWNER && t->conv->ahead.owners == 1)
        return -PARLEY_ERR_LAST_OWNER;
    return 0;
}

static void decide_change(struct turn *t)
{
    struct member_pair p = {0};
    if (!find_pair(t, &p))
        return;
    bool remove = t->cmd->kind == COMMAND_REMOVE;
    int rc = remove ? judge_remove(t, &p) : judge_role(t, &p);
    if (rc) {
        refuse(t, rc);
        return;
    }
    new_target_event(t, remove ? EVENT_REMOVED : EVENT_ROLE, p.target,
                     remove ? p.target->role : t->cmd->role);
    if (stage(t))
        conclude(t);
}

/* --- messages and profiles ---------------------------------------------------------------------------- */

static void decide_send(struct turn *t)
{
    const struct command *c = t->cmd;
    const struct member *actor = NULL;
    if (!find_member(t, &c->actor_hash, &actor))
        return;
    int rc = 0;
    if (role_of(actor) == 0)
        rc = -PARLEY_ERR_NOT_MEMBER;
    else if (actor->role == ROLE_READ_ONLY || (c->created_at_ms && !c->service))
        rc = -PARLEY_ERR_FORBIDDEN;
    else if (c->body.len > t->ctx->limits.body_bytes_max)
        rc = -PARLEY_ERR_TOO_LARGE;
    if (rc) {
        refuse(t, rc);
        return;
    }
    struct event *e = new_event(t, EVENT_MESSAGE);
    e->seq = t->conv->ahead.last_seq + 1;
    e->created_at_ms = c->created_at_ms;
    e->device = c->device;
    e->content_type = c->content_type;
    e->body = c->body;
    conclude(t);
}

static void decide_profile(struct turn *t)
{
    const struct user *user = t->view->user;
    if (!user) {
        need(t, (struct machine_key){.kind = OBJECT_USER, .id = t->cmd->actor_hash});
        return;
    }
    const struct user_command *first = user_find(user, &t->fingerprint);
    if (first) {
        uint64_t applied = user->applied.command_count ? user->applied.commands[0].id : 0;
        if (first->payload_hash == t->payload_hash) {
            answer_first(t, first->id, 0, 0);
        } else {
            refuse(t, -PARLEY_ERR_CONFLICT);
        }
        t->v->basis = first->id > applied ? first->id : 0;
        return;
    }
    struct event *e = new_event(t, EVENT_PROFILE);
    e->target_hash = t->cmd->actor_hash;
    e->display_name = t->cmd->display_name;
    conclude(t);
}

/* --- deciding ----------------------------------------------------------------------------------------- */

/* True when the command has an answer from before. */
static bool decided_before(struct turn *t)
{
    struct conversation *conv = t->conv;
    struct dedup_entry first;
    if (t->cmd->kind == COMMAND_CREATE && conv->ahead.exists) {
        /* A direct one is the same whoever creates it; another's id says who created it, and with which client id. */
        uint64_t basis = if_uncommitted(conv, conv->created_id);
        if (conv->type == CONVERSATION_DIRECT || conv->create_hash == t->payload_hash) {
            answer_first(t, conv->created_id, 0, basis);
        } else {
            refuse(t, -PARLEY_ERR_CONFLICT);
            t->v->basis = basis;
        }
        return true;
    }
    int rc = dedup_find(&conv->dedup, &t->fingerprint, t->view->given, t->view->given_count, &first,
                        &t->v->need_first_id);
    if (rc == DEDUP_NEW)
        return false;
    if (rc == DEDUP_NEED_ROW) {
        t->v->kind = VERDICT_NEED_ROW;
    } else if (rc < 0) {
        refuse(t, rc);
    } else if (first.payload_hash == t->payload_hash) {
        answer_first(t, first.id, first.seq, if_uncommitted(conv, first.id));
    } else {
        refuse(t, -PARLEY_ERR_CONFLICT);
        t->v->basis = if_uncommitted(conv, first.id);
    }
    return true;
}

static void decide_in_conversation(struct turn *t)
{
    t->conv = t->view->conversation;
    if (!t->conv) {
        need(t, (struct machine_key){.kind = OBJECT_CONVERSATION, .id = t->cmd->conversation});
        return;
    }
    parley_assert(same(&t->conv->id, &t->cmd->conversation));
    if (decided_before(t))
        return;
    if (t->cmd->kind != COMMAND_CREATE && !t->conv->ahead.exists) {
        refuse(t, -PARLEY_ERR_NOT_FOUND);
        return;
    }
    switch (t->cmd->kind) {
    case COMMAND_CREATE:
        decide_create(t);
        break;
    case COMMAND_ADD:
        decide_add(t);
        break;
    case COMMAND_REMOVE:
    case COMMAND_ROLE:
        decide_change(t);
        break;
    case COMMAND_SEND:
        decide_send(t);
        break;
    case COMMAND_PROFILE:
        break;
    }
}

void machine_decide(const struct command *cmd, const struct machine_view *view,
                    const struct machine_context *ctx, struct verdict *out)
{
    *out = (struct verdict){0};
    struct turn t = {.cmd = cmd, .view = view, .ctx = ctx, .v = out};
    int rc = check_form(cmd);
    if (rc) {
        refuse(&t, rc);
        return;
    }
    hash_fingerprint(&t);
    hash_payload(&t);
    if (cmd->kind == COMMAND_PROFILE)
        decide_profile(&t);
    else
        decide_in_conversation(&t);
    if (out->kind != VERDICT_EVENTS) { /* an answer leaves nothing half made behind */
        struct verdict answer = {.kind = out->kind,
                                 .error = out->error,
                                 .basis = out->basis,
                                 .id = out->id,
                                 .seq = out->seq,
                                 .need_first_id = out->need_first_id,
                                 .need = out->need};
        verdict_clear(out);
        *out = answer;
    }
}

void machine_recall(const struct command *cmd, const struct machine_view *view,
                    const struct machine_context *ctx, struct verdict *out)
{
    *out = (struct verdict){0};
    struct turn t = {.cmd = cmd, .view = view, .ctx = ctx, .v = out, .conv = view->conversation};
    struct dedup_entry first = {0};
    int rc = check_text(cmd->client_id, 1, CLIENT_ID_BYTES_MAX);
    if (rc == 0) {
        hash_fingerprint(&t);
        rc = dedup_find(&t.conv->dedup, &t.fingerprint, view->given, view->given_count, &first,
                        &out->need_first_id);
    }
    if (rc == DEDUP_NEED_ROW)
        out->kind = VERDICT_NEED_ROW;
    else if (rc == DEDUP_FOUND && first.id <= t.conv->applied.last_event_id)
        answer_first(&t, first.id, first.seq, 0);
    else
        refuse(&t, rc < 0 ? rc : -PARLEY_ERR_NOT_FOUND);
}

void machine_decided(const struct machine_view *view, struct verdict *v, uint64_t position)
{
    parley_assert(v->kind == VERDICT_EVENTS && position > 0);
    for (uint32_t i = 0; i < v->event_count; i++) {
        if (v->events[i].kind == EVENT_PROFILE)
            user_decided(view->user, &v->events[i], position + i);
        else
            conversation_decided(view->conversation, &v->events[i], position + i);
    }
    for (uint32_t i = 0; i < v->page_count; i++)
        page_decided(v->pages[i].page, &v->pages[i].next, position + v->pages[i].event);
    v->page_count = 0;
}

int machine_apply_conversation(struct conversation *conversation, const struct event *event,
                               uint64_t position)
{
    return conversation_apply(conversation, event, position);
}

int machine_apply_page(struct page *page, const struct event *event, uint64_t position)
{
    return page_apply(page, event, position);
}

int machine_apply_user(struct user *user, const struct event *event, uint64_t position)
{
    user_apply(user, event, position);
    return 0;
}

#include "tests/sim/sim_oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "tests/sim/sim_trace.h"

enum { MEMBERS_A_PAGE = 128 };

static void *must_alloc(void *p)
{
    parley_assert(p);
    return p;
}

void sim_oracle_init(struct sim_oracle *o, const struct sim_plan *plan, const struct sim_names *names)
{
    *o = (struct sim_oracle){.names = *names, .plan = plan};
}

void sim_oracle_clear(struct sim_oracle *o)
{
    for (uint32_t i = 0; i < o->op_count; i++)
        free(o->ops[i]);
    for (uint32_t i = 0; i < o->conversation_count; i++) {
        free(o->conversations[i].members);
        free(o->conversations[i].messages);
        free(o->conversations[i].changes);
    }
    for (uint32_t i = 0; i < SIM_SHARDS_MAX; i++)
        free(o->logs[i].events);
    free(o->ops);
}

struct sim_op *sim_oracle_op(struct sim_oracle *o)
{
    if (o->op_count == o->op_max) {
        o->op_max = o->op_max ? 2 * o->op_max : 64;
        o->ops = must_alloc(realloc(o->ops, o->op_max * sizeof(struct sim_op *)));
    }
    struct sim_op *op = must_alloc(calloc(1, sizeof *op));
    op->number = o->op_count;
    snprintf(op->client_id, sizeof op->client_id, "c%u", op->number);
    o->ops[o->op_count++] = op;
    return op;
}

uint32_t sim_oracle_conversation(struct sim_oracle *o, const struct id16 *id)
{
    const struct sim_conversation *found = sim_oracle_find(o, id);
    if (found)
        return (uint32_t)(found - o->conversations);
    if (o->conversation_count == o->plan->conversations)
        return UINT32_MAX;
    struct sim_conversation *c = &o->conversations[o->conversation_count];
    c->id = *id;
    c->shard = hash_shard(o->names.key, id, o->plan->shards);
    c->members = must_alloc(calloc(o->names.user_count, sizeof *c->members));
    return o->conversation_count++;
}

const struct sim_conversation *sim_oracle_find(const struct sim_oracle *o, const struct id16 *id)
{
    for (uint32_t i = 0; i < o->conversation_count; i++)
        if (memcmp(&o->conversations[i].id, id, sizeof *id) == 0)
            return &o->conversations[i];
    return NULL;
}

uint32_t sim_oracle_message_at(const struct sim_conversation *c, uint64_t id)
{
    uint32_t from = 0, to = c->message_count;
    while (from < to) {
        uint32_t middle = (from + to) / 2;
        if (c->messages[middle].id < id)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

uint32_t sim_oracle_user(const struct sim_oracle *o, const struct id16 *hash)
{
    for (uint32_t i = 0; i < o->names.user_count; i++)
        if (memcmp(&o->names.users[i].hash, hash, sizeof *hash) == 0)
            return i;
    return UINT32_MAX;
}

/* -- events */

static uint64_t hash_of(const struct event *e)
{
    static const struct hash_key key = {{1}};
    size_t max = event_len_max(e);
    uint8_t *bytes = must_alloc(malloc(max));
    struct bytes_writer w = bytes_writer_of(bytes, max);
    event_encode(&w, e);
    struct id16 hash = hash_128(&key, bytes, bytes_writer_len(&w));
    free(bytes);
    uint64_t out;
    memcpy(&out, hash.bytes, sizeof out);
    return out;
}

static void note_event(struct sim_oracle *o, uint32_t shard, const struct event *e, bool running)
{
    struct sim_log_copy *log = &o->logs[shard];
    uint64_t last = log->count ? log->events[log->count - 1].id : 0;
    sim_must(e->id > last, "ids", "shard %u: event %" PRIu64 " comes after %" PRIu64, shard, e->id, last);
    sim_must(!running || e->id > log->floor, "ids",
             "shard %u: event %" PRIu64 " is not above %" PRIu64 ", the ceiling from before the start", shard,
             e->id, log->floor);
    sim_must(snowflake_shard(e->id) == shard, "ids", "shard %u gives the id %" PRIu64, shard, e->id);
    if (log->count == log->max) {
        log->max = log->max ? 2 * log->max : 256;
        log->events = must_alloc(realloc(log->events, log->max * sizeof *log->events));
    }
    log->events[log->count++] = (struct sim_logged){e->id, hash_of(e)};
}

void sim_oracle_sent(struct sim_oracle *o, const struct event *e, uint64_t session)
{
    struct sim_conversation *c = (struct sim_conversation *)sim_oracle_find(o, &e->conversation);
    if (e->kind == EVENT_MESSAGE)
        c->messages[c->message_count - 1].session = session;
    else if (c && c->change_count && c->changes[c->change_count - 1].id == e->id)
        c->changes[c->change_count - 1].session = session;
}

void sim_oracle_same(const struct sim_oracle *o, uint32_t shard, uint64_t position, const struct event *e)
{
    const struct sim_log_copy *log = &o->logs[shard];
    const struct sim_logged *was = &log->events[position - 1];
    sim_must(was->id == e->id && was->hash == hash_of(e), "log",
             "shard %u, position %" PRIu64 ": event %" PRIu64 " was committed, now there is %" PRIu64, shard,
             position, was->id, e->id);
}

static struct sim_op *op_of(struct sim_oracle *o, const struct event *e)
{
    char text[SIM_CLIENT_ID_BYTES] = {0};
    sim_must(e->client_id.len > 1 && e->client_id.len < sizeof text, "content", "event %" PRIu64 " of nobody",
             e->id);
    memcpy(text, e->client_id.data, e->client_id.len);
    unsigned long number = strtoul(text + 1, NULL, 10);
    sim_must(text[0] == 'c' && number < o->op_count, "content", "event %" PRIu64 " of command %s", e->id,
             text);
    return o->ops[number];
}

static bool same_text(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* Is it what the device asked for, word by word? */
static void check_content(const struct sim_oracle *o, const struct sim_op *op, const struct event *e)
{
    struct sim_op_text text;
    sim_op_text(op, &o->names, false, &text);
    const struct command *c = &text.command;
    bool same = e->kind == sim_op_kind(op->kind)->event && same_text(e->actor, c->actor);
    switch (op->kind) {
    case COMMAND_CREATE:
        same = same && e->type == op->type && same_text(e->title, c->title);
        break;
    case COMMAND_SEND:
        same = same && same_text(e->body, c->body) && same_text(e->content_type, c->content_type) &&
               e->created_at_ms == op->created_at_ms;
        break;
    case COMMAND_PROFILE:
        same = same && same_text(e->display_name, c->display_name);
        break;
    case COMMAND_FENCE:
    case COMMAND_RECEIPT:
        break;
    default:
        same = same && same_text(e->target, c->target);
        break;
    }
    sim_op_text_end(&text);
    sim_must(same, "content", "event %" PRIu64 " is not what %s c%u asked for", e->id,
             sim_op_kind_name(op->kind), op->number);
}

static void note_change(struct sim_conversation *c, uint32_t user, const struct event *e)
{
    if (c->change_count == c->change_max) {
        c->change_max = c->change_max ? 2 * c->change_max : 16;
        c->changes = must_alloc(realloc(c->changes, c->change_max * sizeof *c->changes));
    }
    c->changes[c->change_count++] = (struct sim_change){
        e->id, e->kind, user, (uint8_t)e->role, e->read_seq, e->delivered_seq, c->page_count, 0};
}

static void join(struct sim_conversation *c, uint32_t user, unsigned role, uint64_t id)
{
    struct sim_member *m = &c->members[user];
    m->ever = true;
    m->role = (uint8_t)role;
    m->intervals[m->interval_count++] = (struct sim_interval){id, 0};
    c->member_count++;
}

static void create(const struct sim_oracle *o, struct sim_conversation *c, const struct sim_op *op,
                   const struct event *e)
{
    c->exists = true;
    c->type = op->type;
    c->creation = op;
    c->created_id = e->id;
    join(c, op->user, op->type == CONVERSATION_DIRECT ? ROLE_MEMBER : ROLE_OWNER, e->id);
    for (uint32_t i = 0; i < op->member_count; i++) {
        uint32_t user = (op->first_member + i) % o->names.user_count;
        if (!c->members[user].ever)
            join(c, user, i % 5 == 4 && op->type != CONVERSATION_DIRECT ? ROLE_ADMIN : ROLE_MEMBER, e->id);
    }
    c->page_count = (c->member_count + MEMBERS_A_PAGE - 1) / MEMBERS_A_PAGE;
    sim_must(e->member_count == c->member_count && e->page_count == c->page_count, "content",
             "creation %" PRIu64 " has %u members in %u pages, not %u in %u", e->id, e->member_count,
             e->page_count, c->member_count, c->page_count);
    struct bytes_reader r = bytes_reader_of(e->members.data, e->members.len);
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct member_view m = member_get(&r);
        uint32_t user = sim_oracle_user(o, &m.hash);
        sim_must(!r.failed && user != UINT32_MAX && sim_role_in(c, user) == m.role, "content",
                 "creation %" PRIu64 ": member %u is not who was asked for", e->id, i);
    }
}

static void add_message(struct sim_conversation *c, const struct sim_op *op, const struct event *e)
{
    sim_must(e->seq == c->message_count + 1, "seq", "message %" PRIu64 " has seq %" PRIu64 ", %u is next",
             e->id, e->seq, c->message_count + 1);
    if (c->message_count == c->message_max) {
        c->message_max = c->message_max ? 2 * c->message_max : 64;
        c->messages = must_alloc(realloc(c->messages, c->message_max * sizeof *c->messages));
    }
    c->messages[c->message_count++] = (struct sim_message){op, e->id, e->seq, e->time_ms, 0};
}

static void change_member(struct sim_conversation *c, const struct sim_op *op, const struct event *e)
{
    struct sim_member *m = &c->members[op->target];
    unsigned former = m->ever ? m->role : 0, role = m->role;
    if (e->kind == EVENT_ADDED)
        role = sim_role_given(c, op, op->target);
    else if (e->kind == EVENT_ROLE)
        role = op->role;
    sim_must(e->role == role && e->former == former, "content",
             "event %" PRIu64 ": role %u, before %u; expected %u, before %u", e->id, e->role, e->former, role,
             former);
    if (e->kind == EVENT_ADDED) {
        join(c, op->target, role, e->id);
        c->split_due = true;
    } else if (e->kind == EVENT_REMOVED) {
        m->intervals[m->interval_count - 1].left = e->id;
        m->listed = false;
        c->member_count--;
    }
    m->role = (uint8_t)role;
}

static void split(const struct sim_oracle *o, struct sim_conversation *c, const struct event *e, bool due)
{
    sim_must(due && e->page_count == c->page_count + 1 && e->to_page == c->page_count, "content",
             "split %" PRIu64 " to %u pages of %u", e->id, e->page_count, c->page_count);
    c->page_count = e->page_count;
    struct bytes_reader r = bytes_reader_of(e->members.data, e->members.len);
    for (uint32_t i = 0; i < e->member_count; i++) {
        struct member_view m = member_get(&r);
        uint32_t user = sim_oracle_user(o, &m.hash);
        sim_must(!r.failed && user != UINT32_MAX && c->members[user].ever &&
                     c->members[user].interval_count == m.interval_count && c->members[user].role == m.role,
                 "content", "split %" PRIu64 ": member %u is not as he was", e->id, i);
    }
}

static void take_profile(struct sim_oracle *o, struct sim_op *op)
{
    struct sim_profile *p = &o->profiles[op->user];
    p->last = op;
    op->ordinal = p->count++;
}

/* Somebody has asked for it, and it says more than before. */
static void take_receipt(const struct sim_oracle *o, struct sim_conversation *c, const struct event *e)
{
    uint32_t user = sim_oracle_user(o, &e->target_hash), at = (uint32_t)(c - o->conversations);
    sim_must(user != UINT32_MAX && sim_member_in(&c->members[user]), "rules",
             "receipt %" PRIu64 " is of somebody who is not in", e->id);
    struct sim_member *m = &c->members[user];
    bool asked = false;
    for (uint32_t i = 0; i < o->op_count && !asked; i++) {
        const struct sim_op *op = o->ops[i];
        uint64_t delivered = op->delivered_seq > op->read_seq ? op->delivered_seq : op->read_seq;
        asked = op->kind == COMMAND_RECEIPT && op->user == user && op->conversation == at &&
                e->read_seq == (op->read_seq > m->read_seq ? op->read_seq : m->read_seq) &&
                e->delivered_seq == (delivered > m->delivered_seq ? delivered : m->delivered_seq);
    }
    bool more = e->read_seq > m->read_seq || e->delivered_seq > m->delivered_seq;
    sim_must(asked && more && e->delivered_seq <= c->message_count, "content",
             "receipt %" PRIu64 " of u%u: %" PRIu64 " read, %" PRIu64 " delivered, before %" PRIu64
             " and %" PRIu64,
             e->id, user, e->read_seq, e->delivered_seq, m->read_seq, m->delivered_seq);
    m->read_seq = e->read_seq;
    m->delivered_seq = e->delivered_seq;
    note_change(c, user, e);
    sim_say("receipt %" PRIu64 " of u%u in conversation %u: %" PRIu64 " read, %" PRIu64 " delivered", e->id,
            user, at, e->read_seq, e->delivered_seq);
}

/* What was known of the client id is no more: whoever was told of it may be told something else. */
static void forget_fences(const struct sim_oracle *o, const struct sim_op *send)
{
    for (uint32_t i = 0; i < o->op_count; i++)
        if (o->ops[i]->of == send)
            o->ops[i]->forgotten = true;
}

static void take_fence(const struct sim_oracle *o, struct sim_conversation *c, struct sim_op *send,
                       const struct event *e)
{
    const struct sim_op *fence = NULL;
    bool again;
    for (uint32_t i = 0; i < o->op_count && !fence; i++)
        if (o->ops[i]->of == send)
            fence = o->ops[i];
    sim_must(fence, "content", "event %" PRIu64 ": nobody has asked for a fence of c%u", e->id, send->number);
    check_content(o, fence, e);
    int err = sim_oracle_judge(o, fence, false, &again);
    sim_must(!again, "once", "c%u is fenced as %" PRIu64 ", though its fate is known", send->number, e->id);
    sim_must(!err, "rules", "c%u is fenced as %" PRIu64 ", it should have been refused: %s", send->number,
             e->id, parley_err_code(err));
    if (send->fence_id || send->event_id)
        forget_fences(o, send);
    send->fence_id = e->id;
    send->fence_ordinal = c->command_count++;
    sim_say("%" PRIu64 " fences c%u", e->id, send->number);
}

static void take_command(const struct sim_oracle *o, struct sim_conversation *c, struct sim_op *op,
                         const struct event *e)
{
    op->ordinal = c->command_count++;
    op->event_seq = e->seq;
    if (op->fence_id)
        forget_fences(o, op);
    if (e->kind == EVENT_MESSAGE) {
        add_message(c, op, e);
        return;
    }
    if (e->kind == EVENT_CREATED)
        create(o, c, op, e);
    else
        change_member(c, op, e);
    note_change(c, e->kind == EVENT_CREATED ? op->user : op->target, e);
}

/* It is what an op asked for, and it may be. */
static void check_op(const struct sim_oracle *o, const struct sim_op *op, const struct event *e)
{
    bool again;
    check_content(o, op, e);
    int err = sim_oracle_judge(o, op, false, &again);
    sim_must(!again || err, "once", "%s c%u is committed again, as %" PRIu64 " after %" PRIu64,
             sim_op_kind_name(op->kind), op->number, e->id, op->event_id);
    sim_must(!err, "rules", "%s c%u is committed as %" PRIu64 ", it should have been refused: %s",
             sim_op_kind_name(op->kind), op->number, e->id, parley_err_code(err));
    sim_must(!op->refused || sim_oracle_is_vague(o, op), "refused",
             "%s c%u was refused, now it is there as %" PRIu64, sim_op_kind_name(op->kind), op->number,
             e->id);
}

/* The conversation of the event; NULL when it is of none. */
static struct sim_conversation *place_of(struct sim_oracle *o, uint32_t shard, const struct event *e)
{
    if (e->kind == EVENT_PROFILE)
        return NULL;
    struct sim_conversation *c = (struct sim_conversation *)sim_oracle_find(o, &e->conversation);
    sim_must(c && c->shard == shard, "content", "shard %u: event %" PRIu64 " of a conversation elsewhere",
             shard, e->id);
    c->last_id = e->id;
    return c;
}

void sim_oracle_feed(struct sim_oracle *o, uint32_t shard, const struct event *e, bool running)
{
    note_event(o, shard, e, running);
    struct sim_conversation *c = place_of(o, shard, e);
    bool due = c && c->split_due;
    if (c)
        c->split_due = false;
    if (c && e->kind == EVENT_SPLIT) {
        split(o, c, e, due);
        sim_say("shard %u: %" PRIu64 " split", shard, e->id);
        return;
    }
    if (c && e->kind == EVENT_RECEIPT) {
        take_receipt(o, c, e);
        return;
    }
    struct sim_op *op = op_of(o, e);
    if (c && e->kind == EVENT_FENCED) {
        take_fence(o, c, op, e);
        return;
    }
    check_op(o, op, e);
    op->forgotten = op->event_id || op->fence_id;
    op->event_id = e->id;
    if (c)
        take_command(o, c, op, e);
    else
        take_profile(o, op);
    sim_say("shard %u: %" PRIu64 " %s c%u by u%u", shard, e->id, sim_op_kind_name(op->kind), op->number,
            op->user);
}

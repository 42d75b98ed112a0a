#include "tests/sim/sim_oracle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/hash.h"
#include "tests/sim/sim_trace.h"

enum { MEMBERS_A_PAGE = 128, PROFILES_KNOWN = 8 };

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

uint32_t sim_oracle_user(const struct sim_oracle *o, const struct id16 *hash)
{
    for (uint32_t i = 0; i < o->names.user_count; i++)
        if (memcmp(&o->names.users[i].hash, hash, sizeof *hash) == 0)
            return i;
    return UINT32_MAX;
}

/* -- the rules */

bool sim_member_in(const struct sim_member *m)
{
    return m->interval_count && m->intervals[m->interval_count - 1].left == 0;
}

uint64_t sim_member_joined(const struct sim_member *m)
{
    return m->interval_count ? m->intervals[m->interval_count - 1].joined : 0;
}

/* 0: he is not in. */
static unsigned role_in(const struct sim_conversation *c, uint32_t user)
{
    return sim_member_in(&c->members[user]) ? c->members[user].role : 0;
}

static uint32_t owners(const struct sim_oracle *o, const struct sim_conversation *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < o->names.user_count; i++)
        count += role_in(c, i) == ROLE_OWNER;
    return count;
}

static bool joins_himself(const struct sim_conversation *c, const struct sim_op *op, uint32_t target)
{
    return c->type == CONVERSATION_CHANNEL && op->user == target;
}

static unsigned role_given(const struct sim_conversation *c, const struct sim_op *op, uint32_t target)
{
    const struct sim_member *m = &c->members[target];
    if (joins_himself(c, op, target) && m->ever && m->role == ROLE_READ_ONLY)
        return ROLE_READ_ONLY;
    return op->role ? op->role : ROLE_MEMBER;
}

static int judge_add(const struct sim_oracle *o, const struct sim_conversation *c, const struct sim_op *op,
                     uint32_t target, bool *again)
{
    unsigned actor = role_in(c, op->user), role = role_given(c, op, target);
    if (c->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (joins_himself(c, op, target)) {
        if (role > ROLE_MEMBER)
            return -PARLEY_ERR_FORBIDDEN;
    } else if (actor == 0) {
        return -PARLEY_ERR_NOT_MEMBER;
    } else if (actor < ROLE_ADMIN || (role > ROLE_MEMBER && actor != ROLE_OWNER)) {
        return -PARLEY_ERR_FORBIDDEN;
    }
    *again = role_in(c, target) != 0;
    bool full = c->type == CONVERSATION_GROUP && c->member_count >= o->plan->group_members_max;
    return !*again && (full || c->members[target].interval_count == MEMBER_INTERVALS_MAX) ? -PARLEY_ERR_LIMIT
                                                                                          : 0;
}

static int judge_remove(const struct sim_oracle *o, const struct sim_conversation *c, const struct sim_op *op,
                        uint32_t target)
{
    unsigned actor = role_in(c, op->user), other = role_in(c, target);
    if (c->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (actor == 0)
        return -PARLEY_ERR_NOT_MEMBER;
    if (other == 0)
        return -PARLEY_ERR_NOT_FOUND;
    if (op->user == target)
        return other == ROLE_OWNER && owners(o, c) == 1 && c->member_count > 1 ? -PARLEY_ERR_LAST_OWNER : 0;
    return actor >= ROLE_ADMIN && actor > other ? 0 : -PARLEY_ERR_FORBIDDEN;
}

static int judge_role(const struct sim_oracle *o, const struct sim_conversation *c, const struct sim_op *op,
                      uint32_t target)
{
    unsigned actor = role_in(c, op->user), other = role_in(c, target);
    if (c->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (actor != ROLE_OWNER)
        return actor ? -PARLEY_ERR_FORBIDDEN : -PARLEY_ERR_NOT_MEMBER;
    if (other == 0)
        return -PARLEY_ERR_NOT_FOUND;
    return other == ROLE_OWNER && op->role != ROLE_OWNER && owners(o, c) == 1 ? -PARLEY_ERR_LAST_OWNER : 0;
}

static int judge_send(const struct sim_oracle *o, const struct sim_conversation *c, const struct sim_op *op,
                      bool altered)
{
    unsigned actor = role_in(c, op->user);
    if (actor == 0)
        return -PARLEY_ERR_NOT_MEMBER;
    if (actor == ROLE_READ_ONLY)
        return -PARLEY_ERR_FORBIDDEN;
    return op->body_len + altered > o->plan->body_bytes_max ? -PARLEY_ERR_TOO_LARGE : 0;
}

static int judge_create(const struct sim_oracle *o, const struct sim_conversation *c, const struct sim_op *op,
                        bool altered, bool *again)
{
    *again = c->exists;
    if (c->exists)
        return c->type == CONVERSATION_DIRECT || !altered ? 0 : -PARLEY_ERR_CONFLICT;
    uint32_t users = o->names.user_count;
    bool among_them = (op->user + users - op->first_member) % users < op->member_count;
    bool full = op->type == CONVERSATION_GROUP && op->member_count + !among_them > o->plan->group_members_max;
    return full ? -PARLEY_ERR_LIMIT : 0;
}

static uint64_t commands_since(const struct sim_oracle *o, const struct sim_op *op)
{
    return op->kind == COMMAND_PROFILE ? o->profiles[op->user].count - op->ordinal
                                       : o->conversations[op->conversation].command_count - op->ordinal;
}

static uint64_t commands_known(const struct sim_oracle *o, const struct sim_op *op)
{
    return op->kind == COMMAND_PROFILE ? PROFILES_KNOWN : o->plan->dedup_entries_max;
}

bool sim_oracle_may_forget(const struct sim_oracle *o, const struct sim_op *op)
{
    return op->kind != COMMAND_CREATE && commands_since(o, op) >= commands_known(o, op);
}

bool sim_oracle_half_forgotten(const struct sim_oracle *o, const struct sim_op *op)
{
    return op->kind != COMMAND_CREATE && op->event_id && commands_since(o, op) >= commands_known(o, op) / 2;
}

int sim_oracle_judge(const struct sim_oracle *o, const struct sim_op *op, bool altered, bool *again)
{
    const struct sim_conversation *c = &o->conversations[op->conversation];
    uint32_t target = (op->target + altered) % o->names.user_count;
    *again = false;
    if (op->kind == COMMAND_CREATE)
        return judge_create(o, c, op, altered, again);
    if (op->event_id && !sim_oracle_may_forget(o, op)) {
        *again = true;
        return altered ? -PARLEY_ERR_CONFLICT : 0;
    }
    if (op->kind == COMMAND_PROFILE)
        return 0;
    if (!c->exists)
        return -PARLEY_ERR_NOT_FOUND;
    switch (op->kind) {
    case COMMAND_ADD:
        return judge_add(o, c, op, target, again);
    case COMMAND_REMOVE:
        return judge_remove(o, c, op, target);
    case COMMAND_ROLE:
        return judge_role(o, c, op, target);
    default:
        return judge_send(o, c, op, altered);
    }
}

int sim_oracle_may_read(const struct sim_conversation *c, uint32_t user)
{
    if (!c->exists)
        return -PARLEY_ERR_NOT_FOUND;
    return sim_member_in(&c->members[user]) ? 0 : -PARLEY_ERR_NOT_MEMBER;
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
    static const enum event_kind kinds[] = {
        [COMMAND_CREATE] = EVENT_CREATED, [COMMAND_ADD] = EVENT_ADDED,    [COMMAND_REMOVE] = EVENT_REMOVED,
        [COMMAND_ROLE] = EVENT_ROLE,      [COMMAND_SEND] = EVENT_MESSAGE, [COMMAND_PROFILE] = EVENT_PROFILE};
    struct sim_op_text text;
    sim_op_text(op, &o->names, false, &text);
    const struct command *c = &text.command;
    bool same = e->kind == kinds[op->kind] && same_text(e->actor, c->actor);
    if (op->kind == COMMAND_CREATE)
        same = same && e->type == op->type && same_text(e->title, c->title);
    else if (op->kind == COMMAND_SEND)
        same = same && same_text(e->body, c->body) && same_text(e->content_type, c->content_type);
    else if (op->kind == COMMAND_PROFILE)
        same = same && same_text(e->display_name, c->display_name);
    else
        same = same && same_text(e->target, c->target);
    sim_op_text_end(&text);
    sim_must(same, "content", "event %" PRIu64 " is not what %s c%u asked for", e->id,
             sim_op_kind_name(op->kind), op->number);
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
        sim_must(!r.failed && user != UINT32_MAX && role_in(c, user) == m.role, "content",
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
    c->messages[c->message_count++] = (struct sim_message){op, e->id, e->seq, e->time_ms};
}

static void change_member(struct sim_conversation *c, const struct sim_op *op, const struct event *e)
{
    struct sim_member *m = &c->members[op->target];
    unsigned former = m->ever ? m->role : 0, role = m->role;
    if (e->kind == EVENT_ADDED)
        role = role_given(c, op, op->target);
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

static void take_command(const struct sim_oracle *o, struct sim_conversation *c, struct sim_op *op,
                         const struct event *e)
{
    op->ordinal = c->command_count++;
    op->event_seq = e->seq;
    if (e->kind == EVENT_CREATED)
        create(o, c, op, e);
    else if (e->kind == EVENT_MESSAGE)
        add_message(c, op, e);
    else
        change_member(c, op, e);
}

void sim_oracle_feed(struct sim_oracle *o, uint32_t shard, const struct event *e, bool running)
{
    note_event(o, shard, e, running);
    struct sim_conversation *c = NULL;
    if (e->kind != EVENT_PROFILE) {
        c = (struct sim_conversation *)sim_oracle_find(o, &e->conversation);
        sim_must(c && c->shard == shard, "content", "shard %u: event %" PRIu64 " of a conversation elsewhere",
                 shard, e->id);
        c->last_id = e->id;
        bool due = c->split_due;
        c->split_due = false;
        if (e->kind == EVENT_SPLIT) {
            split(o, c, e, due);
            sim_say("shard %u: %" PRIu64 " split", shard, e->id);
            return;
        }
    }
    struct sim_op *op = op_of(o, e);
    check_content(o, op, e);
    bool again;
    int err = sim_oracle_judge(o, op, false, &again);
    sim_must(!again, "once", "%s c%u is committed again, as %" PRIu64 " after %" PRIu64,
             sim_op_kind_name(op->kind), op->number, e->id, op->event_id);
    sim_must(!err, "rules", "%s c%u is committed as %" PRIu64 ", it should have been refused: %s",
             sim_op_kind_name(op->kind), op->number, e->id, parley_err_code(err));
    sim_must(!op->refused, "refused", "%s c%u was refused, now it is there as %" PRIu64,
             sim_op_kind_name(op->kind), op->number, e->id);
    op->forgotten = op->event_id != 0;
    op->event_id = e->id;
    if (c)
        take_command(o, c, op, e);
    else
        take_profile(o, op);
    sim_say("shard %u: %" PRIu64 " %s c%u by u%u", shard, e->id, sim_op_kind_name(op->kind), op->number,
            op->user);
}

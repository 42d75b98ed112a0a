/* What a command gets, by its kind. */
#include "src/base/error.h"
#include "tests/sim/sim_oracle.h"

enum { PROFILES_KNOWN = 8 };

/* -- who is in */

bool sim_member_in(const struct sim_member *m)
{
    return m->interval_count && m->intervals[m->interval_count - 1].left == 0;
}

uint64_t sim_member_joined(const struct sim_member *m)
{
    return m->interval_count ? m->intervals[m->interval_count - 1].joined : 0;
}

bool sim_member_covers(const struct sim_member *m, uint64_t id)
{
    for (uint32_t i = 0; i < m->interval_count; i++)
        if (m->intervals[i].joined <= id && (m->intervals[i].left == 0 || id <= m->intervals[i].left))
            return true;
    return false;
}

unsigned sim_role_in(const struct sim_conversation *c, uint32_t user)
{
    return sim_member_in(&c->members[user]) ? c->members[user].role : 0;
}

unsigned sim_role_given(const struct sim_conversation *c, const struct sim_op *op, uint32_t target)
{
    const struct sim_member *m = &c->members[target];
    bool himself = c->type == CONVERSATION_CHANNEL && op->user == target && !op->service;
    if (himself && m->ever && m->role == ROLE_READ_ONLY)
        return ROLE_READ_ONLY;
    return op->role ? op->role : ROLE_MEMBER;
}

static uint32_t owners(const struct sim_oracle *o, const struct sim_conversation *c)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < o->names.user_count; i++)
        count += sim_role_in(c, i) == ROLE_OWNER;
    return count;
}

/* -- rules */

struct asked {
    const struct sim_oracle *o;
    const struct sim_conversation *c;
    const struct sim_op *op;
    uint32_t target;
    bool altered;
    bool *again;
};

static int may_add(const struct asked *a, unsigned actor, unsigned role)
{
    if (a->op->service)
        return 0;
    if (a->c->type == CONVERSATION_CHANNEL && a->op->user == a->target)
        return role <= ROLE_MEMBER ? 0 : -PARLEY_ERR_FORBIDDEN;
    if (actor == 0)
        return -PARLEY_ERR_NOT_MEMBER;
    return actor < ROLE_ADMIN || (role > ROLE_MEMBER && actor != ROLE_OWNER) ? -PARLEY_ERR_FORBIDDEN : 0;
}

static int judge_add(const struct asked *a)
{
    const struct sim_conversation *c = a->c;
    if (c->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    int err = may_add(a, sim_role_in(c, a->op->user), sim_role_given(c, a->op, a->target));
    if (err)
        return err;
    *a->again = sim_role_in(c, a->target) != 0;
    bool full = c->type == CONVERSATION_GROUP && c->member_count >= a->o->plan->group_members_max;
    bool worn = c->members[a->target].interval_count == MEMBER_INTERVALS_MAX;
    return !*a->again && (full || worn) ? -PARLEY_ERR_LIMIT : 0;
}

static int judge_remove(const struct asked *a)
{
    const struct sim_conversation *c = a->c;
    unsigned actor = sim_role_in(c, a->op->user), other = sim_role_in(c, a->target);
    if (c->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (actor == 0 && !a->op->service)
        return -PARLEY_ERR_NOT_MEMBER;
    if (other == 0)
        return -PARLEY_ERR_NOT_FOUND;
    if (a->op->service)
        return 0;
    if (a->op->user == a->target)
        return other == ROLE_OWNER && owners(a->o, c) == 1 && c->member_count > 1 ? -PARLEY_ERR_LAST_OWNER
                                                                                  : 0;
    return actor >= ROLE_ADMIN && actor > other ? 0 : -PARLEY_ERR_FORBIDDEN;
}

static int judge_role(const struct asked *a)
{
    const struct sim_conversation *c = a->c;
    unsigned actor = sim_role_in(c, a->op->user), other = sim_role_in(c, a->target);
    if (c->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (actor != ROLE_OWNER && !a->op->service)
        return actor ? -PARLEY_ERR_FORBIDDEN : -PARLEY_ERR_NOT_MEMBER;
    if (other == 0)
        return -PARLEY_ERR_NOT_FOUND;
    bool last = other == ROLE_OWNER && a->op->role != ROLE_OWNER && owners(a->o, c) == 1;
    return last ? -PARLEY_ERR_LAST_OWNER : 0;
}

static int judge_send(const struct asked *a)
{
    unsigned actor = sim_role_in(a->c, a->op->user);
    if (actor == 0)
        return -PARLEY_ERR_NOT_MEMBER;
    if (actor == ROLE_READ_ONLY || (a->op->created_at_ms && !a->op->service))
        return -PARLEY_ERR_FORBIDDEN;
    return a->op->body_len + a->altered > a->o->plan->body_bytes_max ? -PARLEY_ERR_TOO_LARGE : 0;
}

static int judge_fence(const struct asked *a)
{
    return sim_role_in(a->c, a->op->user) ? 0 : -PARLEY_ERR_NOT_MEMBER;
}

static int judge_receipt(const struct asked *a)
{
    const struct sim_op *op = a->op;
    const struct sim_member *m = &a->c->members[op->user];
    if (!sim_member_in(m))
        return -PARLEY_ERR_NOT_MEMBER;
    if (op->read_seq > a->c->message_count || op->delivered_seq > a->c->message_count)
        return -PARLEY_ERR_BAD_REQUEST;
    *a->again = op->read_seq <= m->read_seq && op->read_seq <= m->delivered_seq &&
                op->delivered_seq <= m->delivered_seq;
    return 0;
}

static int judge_create(const struct asked *a)
{
    const struct sim_op *op = a->op;
    *a->again = a->c->exists;
    if (a->c->exists)
        return a->c->type == CONVERSATION_DIRECT || !a->altered ? 0 : -PARLEY_ERR_CONFLICT;
    uint32_t users = a->o->names.user_count;
    bool among_them = (op->user + users - op->first_member) % users < op->member_count;
    bool full =
        op->type == CONVERSATION_GROUP && op->member_count + !among_them > a->o->plan->group_members_max;
    return full ? -PARLEY_ERR_LIMIT : 0;
}

static int judge_profile(const struct asked *a)
{
    (void)a;
    return 0;
}

static int (*const rules[])(const struct asked *a) = {
    [COMMAND_CREATE] = judge_create, [COMMAND_ADD] = judge_add,        [COMMAND_REMOVE] = judge_remove,
    [COMMAND_ROLE] = judge_role,     [COMMAND_SEND] = judge_send,      [COMMAND_PROFILE] = judge_profile,
    [COMMAND_FENCE] = judge_fence,   [COMMAND_RECEIPT] = judge_receipt};

/* -- what is known from before */

/* So many commands came after the one of that ordinal. */
static bool is_old(const struct sim_oracle *o, const struct sim_op *op, uint64_t ordinal, uint64_t part)
{
    if (op->kind == COMMAND_PROFILE)
        return o->profiles[op->user].count - ordinal >= PROFILES_KNOWN / part;
    return o->conversations[op->conversation].command_count - ordinal >= o->plan->dedup_entries_max / part;
}

/* The op under whose client id the server knows what was done. */
static const struct sim_op *key_of(const struct sim_op *op)
{
    return op->of ? op->of : op;
}

static bool newest_is_old(const struct sim_oracle *o, const struct sim_op *op, uint64_t part)
{
    const struct sim_op *key = key_of(op);
    return (!key->event_id || is_old(o, key, key->ordinal, part)) &&
           (!key->fence_id || is_old(o, key, key->fence_ordinal, part));
}

bool sim_oracle_may_forget(const struct sim_oracle *o, const struct sim_op *op)
{
    if (op->kind == COMMAND_CREATE)
        return false;
    return !sim_op_kind(op->kind)->keyed || newest_is_old(o, op, 1);
}

bool sim_oracle_half_forgotten(const struct sim_oracle *o, const struct sim_op *op)
{
    const struct sim_op *key = key_of(op);
    return op->kind != COMMAND_CREATE && (key->event_id || key->fence_id) && newest_is_old(o, op, 2);
}

bool sim_oracle_is_vague(const struct sim_oracle *o, const struct sim_op *op)
{
    const struct sim_op *key = key_of(op);
    return (key->event_id || key->fence_id) && (key->forgotten || sim_oracle_may_forget(o, op));
}

/* By its client id, before anything else. False: it is new. */
static bool is_known(const struct asked *a, int *err)
{
    const struct sim_op *key = key_of(a->op);
    bool sent = key->event_id && !is_old(a->o, key, key->ordinal, 1);
    bool fenced = key->fence_id && !is_old(a->o, key, key->fence_ordinal, 1);
    if (!sim_op_kind(a->op->kind)->keyed || !(sent || fenced))
        return false;
    *a->again = true;
    *err = a->op->kind == COMMAND_FENCE ? 0
           : !sent                      ? -PARLEY_ERR_FENCED
           : a->altered                 ? -PARLEY_ERR_CONFLICT
                                        : 0;
    return true;
}

int sim_oracle_judge(const struct sim_oracle *o, const struct sim_op *op, bool altered, bool *again)
{
    const struct sim_conversation *c = &o->conversations[op->conversation];
    struct asked asked = {o, c, op, (op->target + altered) % o->names.user_count, altered, again};
    int err;
    *again = false;
    if (op->kind != COMMAND_CREATE) {
        if (is_known(&asked, &err))
            return err;
        if (op->kind != COMMAND_PROFILE && !c->exists)
            return -PARLEY_ERR_NOT_FOUND;
    }
    return rules[op->kind](&asked);
}

int sim_oracle_may_read(const struct sim_conversation *c, uint32_t user)
{
    if (!c->exists)
        return -PARLEY_ERR_NOT_FOUND;
    return sim_member_in(&c->members[user]) ? 0 : -PARLEY_ERR_NOT_MEMBER;
}

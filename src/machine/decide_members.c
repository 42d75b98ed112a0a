#include "src/machine/turn.h"

#include "src/base/error.h"
#include "src/base/memory.h"

struct member_pair { /* NULL: never was a member */
    const struct member *actor, *target;
};

static bool find_pair(struct turn *t, struct member_pair *p)
{
    return turn_find_member(t, &t->cmd->actor_hash, &p->actor) &&
           turn_find_member(t, &t->cmd->target_hash, &p->target);
}

static struct event *new_target_event(struct turn *t, enum event_kind kind, const struct member *target,
                                      unsigned role)
{
    struct event *e = turn_event(t, kind);
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
    unsigned actor = turn_role(p->actor), role = c->role ? c->role : ROLE_MEMBER;
    *error = -PARLEY_ERR_FORBIDDEN;
    if (c->service)
        return role;
    if (t->conv->type == CONVERSATION_CHANNEL && same_id(&c->actor_hash, &c->target_hash)) {
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
    if (!is_new || !turn_split_due(n))
        return true;
    struct page *from = turn_page(t, page_to_split(n->page_count));
    struct page *to = from ? turn_page(t, n->page_count) : NULL;
    if (!to)
        return false;
    const struct page_members *m = turn_members(t, from);
    size_t max = 1;
    for (uint32_t i = 0; i < m->count; i++)
        max += 100 + m->list[i].interval_count * sizeof(struct member_interval);
    t->v->members = memory_alloc(max);
    if (!t->v->members) {
        turn_refuse(t, -PARLEY_ERR_NOMEM);
        return false;
    }
    struct event *e = turn_event(t, EVENT_SPLIT);
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
    return turn_stage(t);
}

void decide_add(struct turn *t)
{
    struct member_pair p = {0};
    if (!find_pair(t, &p))
        return;
    int error = 0;
    unsigned role = t->conv->type == CONVERSATION_DIRECT ? 0 : added_role(t, &p, &error);
    if (role == 0) {
        turn_refuse(t, error ? error : -PARLEY_ERR_FORBIDDEN);
        return;
    }
    if (turn_role(p.target)) { /* he is in already: that is the result */
        uint64_t joined = member_intervals(p.target)[p.target->interval_count - 1].joined;
        turn_answer_first(t, joined, 0, conversation_basis(t->conv));
        return;
    }
    struct page *page = turn_page(t, page_number(&t->cmd->target_hash, t->conv->ahead.page_count));
    if (t->conv->ahead.members >= turn_members_max(t, t->conv->type) ||
        (p.target && p.target->interval_count >= MEMBER_INTERVALS_MAX) ||
        (!p.target && page_view(page)->count >= PAGE_MEMBERS_MAX)) {
        turn_refuse(t, -PARLEY_ERR_LIMIT);
        return;
    }
    bool is_new = !p.target;
    new_target_event(t, EVENT_ADDED, p.target, role);
    if (turn_stage(t) && split(t, is_new))
        turn_conclude(t);
}

static int judge_remove(const struct turn *t, const struct member_pair *p)
{
    unsigned actor = turn_role(p->actor), target = turn_role(p->target);
    bool self = same_id(&t->cmd->actor_hash, &t->cmd->target_hash);
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
    unsigned actor = turn_role(p->actor), target = turn_role(p->target);
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

void decide_change(struct turn *t)
{
    struct member_pair p = {0};
    if (!find_pair(t, &p))
        return;
    bool remove = t->cmd->kind == COMMAND_REMOVE;
    int rc = remove ? judge_remove(t, &p) : judge_role(t, &p);
    if (rc) {
        turn_refuse(t, rc);
        return;
    }
    new_target_event(t, remove ? EVENT_REMOVED : EVENT_ROLE, p.target,
                     remove ? p.target->role : t->cmd->role);
    if (turn_stage(t))
        turn_conclude(t);
}

void decide_receipt(struct turn *t)
{
    const struct command *c = t->cmd;
    const struct member *m = NULL;
    uint64_t last = t->conv->ahead.last_seq, read = c->read_seq;
    if (!turn_find_member(t, &c->actor_hash, &m))
        return;
    if (turn_role(m) == 0 || read > last || c->delivered_seq > last) {
        turn_refuse(t, turn_role(m) ? -PARLEY_ERR_BAD_REQUEST : -PARLEY_ERR_NOT_MEMBER);
        return;
    }
    uint64_t delivered = c->delivered_seq > read ? c->delivered_seq : read; /* who has read it has it */
    if (read <= m->read_seq && delivered <= m->delivered_seq) {
        turn_answer_first(t, 0, 0, conversation_basis(t->conv));
        return;
    }
    struct event *e = turn_event(t, EVENT_RECEIPT);
    e->target = c->actor;
    e->target_hash = c->actor_hash;
    e->page = page_number(&c->actor_hash, t->conv->ahead.page_count);
    e->read_seq = read > m->read_seq ? read : m->read_seq;
    e->delivered_seq = delivered > m->delivered_seq ? delivered : m->delivered_seq;
    if (turn_stage(t))
        turn_conclude(t);
}

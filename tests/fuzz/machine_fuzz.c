/* src/machine: a sequence of commands, commits, write-backs, crashes and clock steps, against a model that knows the rules of
 * docs/api.md and nothing of the machine: arrays of who is in and a list of what was accepted.
 *
 * Shape:  input -> steps -> the machine in tests/unit/machine_world.h -> the model -> the same answers, members and messages
 *         A crash forgets what was not committed, in the model too; the log is applied again over what the store has. */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/machine_world.h"

enum {
    ACTORS = 6,
    USERS = 256,
    CLIENTS = 12,
    FACTS_MAX = 1024,
    STEPS_MAX = 200,
    CROWD = 24,
    HOUR_MS = 3600000
};
enum {
    STEP_COMMAND,
    STEP_RETRY = 6,
    STEP_CROWD,
    STEP_COMMIT,
    STEP_WRITE_BACK,
    STEP_CRASH,
    STEP_CLOCK,
    STEP_COUNT
};

/* A command, as small as it can be told. */
struct deed {
    uint8_t kind, type, actor, target, role, client, body;
    bool service;
};

struct fact { /* it was accepted */
    struct deed deed;
    uint64_t id, seq, end; /* end: the log's, behind it */
};

struct people {
    bool exists;
    uint8_t type, role[USERS]; /* the last role that he had; 0: never was in */
    bool in[USERS];
    uint8_t intervals[USERS];
    uint64_t joined[USERS], seq, created;
    uint32_t members, owners;
};

struct model {
    struct fact facts[FACTS_MAX];
    uint32_t count;
    struct people now;
};

struct answer {
    int error;
    bool accepted;
    uint64_t id, seq;
};

/* -- the model */

static bool same_deed(const struct deed *a, const struct deed *b)
{
    return a->kind == b->kind && a->type == b->type && a->target == b->target && a->role == b->role &&
           a->body == b->body;
}

static void join(struct people *p, unsigned user, unsigned role, uint64_t id)
{
    p->in[user] = true;
    p->role[user] = (uint8_t)role;
    p->joined[user] = id;
    p->intervals[user]++;
    p->members++;
    p->owners += role == ROLE_OWNER;
}

/* The role that an addition gives: in a channel, whoever adds himself is what he was if he may only read. */
static unsigned given_role(const struct people *p, const struct deed *d)
{
    unsigned role = d->role ? d->role : ROLE_MEMBER;
    bool self = p->type == CONVERSATION_CHANNEL && d->actor == d->target && !d->service;
    return self && p->role[d->target] == ROLE_READ_ONLY ? ROLE_READ_ONLY : role;
}

static void fold(struct people *p, const struct fact *f)
{
    const struct deed *d = &f->deed;
    switch (d->kind) {
    case COMMAND_CREATE:
        *p = (struct people){.exists = true, .type = d->type, .created = f->id};
        join(p, d->actor, d->type == CONVERSATION_DIRECT ? ROLE_MEMBER : ROLE_OWNER, f->id);
        if (d->target != d->actor)
            join(p, d->target, ROLE_MEMBER, f->id);
        break;
    case COMMAND_ADD:
        join(p, d->target, given_role(p, d), f->id);
        break;
    case COMMAND_REMOVE:
        p->in[d->target] = false;
        p->members--;
        p->owners -= p->role[d->target] == ROLE_OWNER;
        break;
    case COMMAND_ROLE:
        p->owners += (d->role == ROLE_OWNER) - (p->role[d->target] == ROLE_OWNER);
        p->role[d->target] = d->role;
        break;
    case COMMAND_SEND:
        p->seq = f->seq;
        break;
    }
}

static int judge_add(const struct people *p, const struct deed *d)
{
    unsigned actor = p->in[d->actor] ? p->role[d->actor] : 0, role = given_role(p, d);
    if (d->service)
        return 0;
    if (p->type == CONVERSATION_CHANNEL && d->actor == d->target)
        return role <= ROLE_MEMBER ? 0 : -PARLEY_ERR_FORBIDDEN;
    if (!actor)
        return -PARLEY_ERR_NOT_MEMBER;
    return actor >= ROLE_ADMIN && (role <= ROLE_MEMBER || actor == ROLE_OWNER) ? 0 : -PARLEY_ERR_FORBIDDEN;
}

static int judge_remove(const struct people *p, const struct deed *d)
{
    unsigned actor = p->in[d->actor] ? p->role[d->actor] : 0,
             target = p->in[d->target] ? p->role[d->target] : 0;
    if (!d->service && !actor)
        return -PARLEY_ERR_NOT_MEMBER;
    if (!target)
        return -PARLEY_ERR_NOT_FOUND;
    if (d->service)
        return 0;
    if (d->actor == d->target)
        return target == ROLE_OWNER && p->owners == 1 && p->members > 1 ? -PARLEY_ERR_LAST_OWNER : 0;
    return actor >= ROLE_ADMIN && actor > target ? 0 : -PARLEY_ERR_FORBIDDEN;
}

static int judge_role(const struct people *p, const struct deed *d)
{
    unsigned actor = p->in[d->actor] ? p->role[d->actor] : 0;
    if (!d->service && !actor)
        return -PARLEY_ERR_NOT_MEMBER;
    if (!d->service && actor != ROLE_OWNER)
        return -PARLEY_ERR_FORBIDDEN;
    if (!p->in[d->target])
        return -PARLEY_ERR_NOT_FOUND;
    bool last = p->role[d->target] == ROLE_OWNER && p->owners == 1;
    return last && d->role != ROLE_OWNER ? -PARLEY_ERR_LAST_OWNER : 0;
}

static int judge(const struct people *p, const struct deed *d)
{
    if (d->kind == COMMAND_CREATE)
        return d->type == CONVERSATION_DIRECT && d->actor == d->target ? -PARLEY_ERR_BAD_REQUEST : 0;
    if (!p->exists)
        return -PARLEY_ERR_NOT_FOUND;
    if (d->kind == COMMAND_SEND) {
        if (!p->in[d->actor])
            return -PARLEY_ERR_NOT_MEMBER;
        return p->role[d->actor] == ROLE_READ_ONLY ? -PARLEY_ERR_FORBIDDEN : 0;
    }
    if (p->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    return d->kind == COMMAND_ADD      ? judge_add(p, d)
           : d->kind == COMMAND_REMOVE ? judge_remove(p, d)
                                       : judge_role(p, d);
}

static struct answer expected(const struct model *m, const struct deed *d)
{
    const struct people *p = &m->now;
    struct answer conflict = {.error = -PARLEY_ERR_CONFLICT};
    if (d->kind == COMMAND_CREATE && p->exists) {
        const struct deed *first = &m->facts[0].deed;
        return p->type == CONVERSATION_DIRECT || same_deed(first, d) ? (struct answer){.id = p->created}
                                                                     : conflict;
    }
    for (uint32_t i = 0; i < m->count; i++) {
        const struct fact *f = &m->facts[i];
        if (f->deed.actor == d->actor && f->deed.client == d->client)
            return same_deed(&f->deed, d) ? (struct answer){.id = f->id, .seq = f->seq} : conflict;
    }
    int error = judge(p, d);
    if (error)
        return (struct answer){.error = error};
    if (d->kind == COMMAND_ADD && p->in[d->target]) /* that is the result already */
        return (struct answer){.id = p->joined[d->target]};
    if (d->kind == COMMAND_ADD && p->intervals[d->target] >= MEMBER_INTERVALS_MAX)
        return (struct answer){.error = -PARLEY_ERR_LIMIT};
    return (struct answer){.accepted = true, .seq = d->kind == COMMAND_SEND ? p->seq + 1 : 0};
}

static void forget_from(struct model *m, uint64_t end)
{
    while (m->count && m->facts[m->count - 1].end > end)
        m->count--;
    m->now = (struct people){0};
    for (uint32_t i = 0; i < m->count; i++)
        fold(&m->now, &m->facts[i]);
}

/* -- the machine */

static struct span user_name_of(unsigned user, char room[8])
{
    return (struct span){(uint8_t *)room, (size_t)snprintf(room, 8, "u%u", user)};
}

static struct verdict ask(struct world *w, const struct deed *d)
{
    char actor[8], target[8], client[8], body[16];
    struct command_member member = {.user = user_name_of(d->target, target)};
    struct command c = {.kind = (enum command_kind)d->kind, .service = d->service, .conversation = w->id};
    member.hash = user_hash(member.user);
    c.actor = user_name_of(d->actor, actor);
    c.actor_hash = user_hash(c.actor);
    snprintf(client, sizeof client, "c%u", d->client);
    snprintf(body, sizeof body, "body %u", d->body);
    c.client_id = text(client);
    switch (d->kind) {
    case COMMAND_CREATE:
        c.type = (enum conversation_type)d->type;
        c.members = &member;
        c.member_count = 1;
        break;
    case COMMAND_SEND:
        c.body = text(body);
        break;
    default:
        c.target = member.user;
        c.target_hash = member.hash;
        c.role = (enum member_role)d->role;
        break;
    }
    return world_do(w, &c);
}

static void run_deed(struct world *w, struct model *m, const struct deed *d, uint64_t *last_id)
{
    if (m->count == FACTS_MAX)
        return;
    struct answer want = expected(m, d);
    struct verdict had = ask(w, d);
    parley_assert(had.kind == (want.error      ? VERDICT_REFUSED
                               : want.accepted ? VERDICT_EVENTS
                                               : VERDICT_DUPLICATE));
    parley_assert(had.error == want.error);
    if (want.error)
        return;
    parley_assert(had.seq == want.seq && (want.accepted || had.id == want.id));
    if (!want.accepted)
        return;
    parley_assert(had.id > *last_id);
    *last_id = w->ids.last; /* of a split, too */
    m->facts[m->count] = (struct fact){*d, had.id, had.seq, w->end};
    fold(&m->now, &m->facts[m->count++]);
}

/* -- what is there in the end */

static void check_people(struct world *w, const struct people *p)
{
    const struct conversation_counts *n = &w->conv->applied;
    parley_assert(n->exists == p->exists);
    if (!p->exists)
        return;
    parley_assert(n->members == p->members && n->owners == p->owners && n->last_seq == p->seq);
    for (unsigned user = 0; user < USERS; user++) {
        char name[8];
        struct id16 hash = user_hash(user_name_of(user, name));
        const struct page_members *page = world_page(w, page_number(&hash, n->page_count))->applied;
        const struct member *had = page_find(page, &hash);
        parley_assert((had != NULL) == (p->role[user] != 0));
        if (!had)
            continue;
        parley_assert(had->role == p->role[user] && member_active(had) == p->in[user]);
        parley_assert(had->interval_count == p->intervals[user]);
        parley_assert(member_intervals(had)[had->interval_count - 1].joined == p->joined[user]);
    }
}

/* Every message, once and in order, out of the store's chunks, which follow each other as they were begun. */
static void check_messages(struct world *w, const struct model *m)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < w->row_count; i++) {
        struct message had;
        if (w->rows[i].kind != 'c')
            continue;
        struct chunk_cursor cursor = chunk_begin((struct span){w->rows[i].data, w->rows[i].len});
        while (chunk_next(&cursor, &had) == 0) {
            char body[16];
            while (at < m->count && m->facts[at].deed.kind != COMMAND_SEND)
                at++;
            parley_assert(at < m->count && had.id == m->facts[at].id && had.seq == m->facts[at].seq);
            snprintf(body, sizeof body, "body %u", m->facts[at++].deed.body);
            parley_assert(fuzz_is(had.body, body));
        }
    }
    while (at < m->count)
        parley_assert(m->facts[at++].deed.kind != COMMAND_SEND);
}

/* -- steps */

static struct deed take_deed(struct bytes_reader *r)
{
    static const uint8_t kinds[] = {COMMAND_SEND, COMMAND_ADD,  COMMAND_REMOVE,
                                    COMMAND_ROLE, COMMAND_SEND, COMMAND_CREATE};
    struct deed d = {.kind = kinds[fuzz_below(r, PARLEY_ARRAY_COUNT(kinds))]};
    uint8_t who = bytes_get_u8(r), what = bytes_get_u8(r);
    d.actor = who % ACTORS;
    d.client = bytes_get_u8(r) % CLIENTS;
    d.service = who >= 0xe0;
    if (d.kind == COMMAND_SEND) {
        d.body = what % 4;
        return d;
    }
    d.target = what % (ACTORS + 2);
    if (d.kind == COMMAND_CREATE)
        d.type = (uint8_t)(CONVERSATION_DIRECT + (what >> 4) % 3), d.service = false;
    else if (d.kind != COMMAND_REMOVE)
        d.role = (uint8_t)((what >> 4) % (ROLE_OWNER + 1));
    if (d.kind == COMMAND_ROLE && d.role == 0)
        d.role = ROLE_MEMBER;
    return d;
}

struct run {
    struct world *w;
    struct model *m;
    uint64_t last_id, redo;
    uint32_t crowd; /* users that came in a crowd */
};

/* So many that pages are split. */
static void add_crowd(struct run *run)
{
    for (unsigned i = 0; i < CROWD && ACTORS + 2 + run->crowd < USERS; i++, run->crowd++) {
        unsigned user = ACTORS + 2 + run->crowd;
        struct deed d = {
            .kind = COMMAND_ADD, .service = true, .target = (uint8_t)user, .client = (uint8_t)user};
        run_deed(run->w, run->m, &d, &run->last_id);
    }
}

static void commit(struct run *run, uint32_t facts)
{
    struct world *w = run->w;
    for (uint32_t i = 0; i < run->m->count && facts; i++) {
        if (run->m->facts[i].end <= w->applied)
            continue;
        world_commit(w, run->m->facts[i].end);
        facts--;
    }
}

static void crash(struct run *run, uint8_t how)
{
    struct world *w = run->w;
    forget_from(run->m, w->applied);
    world_crash(w, 1 + (run->redo - 1) * (how % 4) / 3, how & 4);
    check_people(w, &run->m->now);
}

static void step(struct run *run, struct bytes_reader *r)
{
    uint32_t what = fuzz_below(r, STEP_COUNT);
    struct world *w = run->w;
    if (what < STEP_RETRY) {
        struct deed d = take_deed(r);
        run_deed(w, run->m, &d, &run->last_id);
    } else if (what == STEP_RETRY && run->m->count) {
        run_deed(w, run->m, &run->m->facts[bytes_get_u8(r) % run->m->count].deed, &run->last_id);
    } else if (what == STEP_CROWD) {
        add_crowd(run);
    } else if (what == STEP_COMMIT) {
        commit(run, 1 + fuzz_below(r, 16));
    } else if (what == STEP_WRITE_BACK) {
        world_write_back(w, fuzz_below(r, 8));
        run->redo = w->applied;
    } else if (what == STEP_CRASH) {
        crash(run, bytes_get_u8(r));
    } else if (what == STEP_CLOCK) { /* never so far that dedup forgets */
        w->ctx.now_ms += (uint64_t)((int64_t)(int8_t)bytes_get_u8(r) * HOUR_MS / 256);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct run run = {.w = world_new((struct id16){{1}}), .m = calloc(1, sizeof *run.m), .redo = 1};
    parley_assert(run.m);
    for (int i = 0; i < STEPS_MAX && r.at < r.end; i++)
        step(&run, &r);
    commit(&run, FACTS_MAX);
    check_people(run.w, &run.m->now);
    world_write_back(run.w, 0);
    check_messages(run.w, run.m);
    run.redo = run.w->applied;
    crash(&run, 3);
    world_free(run.w);
    free(run.m);
    return 0;
}

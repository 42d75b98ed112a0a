/* Random histories of one conversation against a simple model, with late commits, write-backs, crashes and replays. */
#include "tests/unit/machine_world.h"

enum { USERS = 12, DONE_MAX = 4096 };

static char names[USERS][8], cids[DONE_MAX * 2][12];

struct model_user {
    uint64_t read, delivered;
    bool active, ever;
    unsigned role, joins;
    uint64_t joined[MEMBER_INTERVALS_MAX + 1], left[MEMBER_INTERVALS_MAX + 1];
};

struct model {
    unsigned type;
    struct model_user users[USERS];
    unsigned members, owners;
    uint64_t seq, last_id;
    struct done {
        struct command cmd;
        uint64_t id, seq, position;
    } done[DONE_MAX];
    unsigned count;
};

static unsigned user_of(struct span name)
{
    return (unsigned)atoi((const char *)name.data + 1);
}

static bool equal(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static struct done *done_before(struct model *m, const struct command *c)
{
    if (c->kind == COMMAND_RECEIPT)
        return NULL;
    for (unsigned i = 0; i < m->count; i++)
        if (equal(m->done[i].cmd.actor, c->actor) && equal(m->done[i].cmd.client_id, c->client_id))
            return &m->done[i];
    return NULL;
}

static bool same_payload(const struct command *a, const struct command *b)
{
    return a->kind == b->kind && a->type == b->type && a->role == b->role && equal(a->target, b->target) &&
           equal(a->body, b->body) && a->created_at_ms == b->created_at_ms;
}

static int judge_add(struct model *m, const struct command *c, unsigned *role)
{
    struct model_user *a = &m->users[user_of(c->actor)], *t = &m->users[user_of(c->target)];
    *role = c->role ? c->role : ROLE_MEMBER;
    if (!c->service) {
        if (m->type == CONVERSATION_CHANNEL && a == t) {
            if (t->ever && t->role == ROLE_READ_ONLY)
                *role = ROLE_READ_ONLY;
            if (*role > ROLE_MEMBER)
                return -PARLEY_ERR_FORBIDDEN;
        } else if (!a->active) {
            return -PARLEY_ERR_NOT_MEMBER;
        } else if (a->role < ROLE_ADMIN || (*role > ROLE_MEMBER && a->role != ROLE_OWNER)) {
            return -PARLEY_ERR_FORBIDDEN;
        }
    }
    if (t->active)
        return 1;
    return t->joins >= MEMBER_INTERVALS_MAX ? -PARLEY_ERR_LIMIT : 0;
}

/* 0: an event; 1: he is in already; else the error. */
static int judge(struct model *m, const struct command *c, unsigned *role)
{
    struct model_user *a = &m->users[user_of(c->actor)];
    if (c->kind == COMMAND_FENCE)
        return a->active ? 0 : -PARLEY_ERR_NOT_MEMBER;
    if (c->kind == COMMAND_RECEIPT) {
        if (!a->active)
            return -PARLEY_ERR_NOT_MEMBER;
        if (c->read_seq > m->seq || c->delivered_seq > m->seq)
            return -PARLEY_ERR_BAD_REQUEST;
        return c->read_seq <= a->read && c->read_seq <= a->delivered && c->delivered_seq <= a->delivered;
    }
    if (c->kind == COMMAND_SEND) {
        if (!a->active)
            return -PARLEY_ERR_NOT_MEMBER;
        return a->role == ROLE_READ_ONLY || (c->created_at_ms && !c->service) ? -PARLEY_ERR_FORBIDDEN : 0;
    }
    if (m->type == CONVERSATION_DIRECT)
        return -PARLEY_ERR_FORBIDDEN;
    if (c->kind == COMMAND_ADD)
        return judge_add(m, c, role);
    struct model_user *t = &m->users[user_of(c->target)];
    if (!c->service && !a->active)
        return -PARLEY_ERR_NOT_MEMBER;
    if (c->kind == COMMAND_ROLE && !c->service && a->role != ROLE_OWNER)
        return -PARLEY_ERR_FORBIDDEN;
    if (!t->active)
        return -PARLEY_ERR_NOT_FOUND;
    if (c->kind == COMMAND_ROLE)
        return t->role == ROLE_OWNER && c->role != ROLE_OWNER && m->owners == 1 ? -PARLEY_ERR_LAST_OWNER : 0;
    if (c->service)
        return 0;
    if (a == t)
        return t->role == ROLE_OWNER && m->owners == 1 && m->members > 1 ? -PARLEY_ERR_LAST_OWNER : 0;
    return a->role >= ROLE_ADMIN && a->role > t->role ? 0 : -PARLEY_ERR_FORBIDDEN;
}

static void happen(struct model *m, const struct command *c, unsigned role, const struct verdict *v,
                   uint64_t position)
{
    assert_true(v->id > m->last_id);
    m->last_id = v->id;
    if (c->kind == COMMAND_SEND) {
        assert_int_equal(v->seq, ++m->seq);
    } else if (c->kind == COMMAND_FENCE) {
        assert_int_equal(v->seq, 0);
    } else if (c->kind == COMMAND_RECEIPT) {
        struct model_user *a = &m->users[user_of(c->actor)];
        uint64_t delivered = c->read_seq > c->delivered_seq ? c->read_seq : c->delivered_seq;
        a->read = c->read_seq > a->read ? c->read_seq : a->read;
        a->delivered = delivered > a->delivered ? delivered : a->delivered;
        return;
    } else {
        struct model_user *t = &m->users[user_of(c->target)];
        m->owners -= t->active && t->role == ROLE_OWNER;
        if (c->kind == COMMAND_ADD) {
            t->active = t->ever = true;
            t->role = role;
            t->joined[t->joins] = v->id;
            t->left[t->joins++] = 0;
            m->members++;
        } else if (c->kind == COMMAND_REMOVE) {
            t->active = false;
            t->left[t->joins - 1] = v->id;
            m->members--;
        } else {
            t->role = c->role;
        }
        m->owners += t->active && t->role == ROLE_OWNER;
    }
    assert_true(m->count < DONE_MAX);
    m->done[m->count++] = (struct done){*c, v->id, v->seq, position};
}

static struct command random_command(struct model *m, uint64_t *seed, unsigned n)
{
    static const struct {
        const char *text;
    } bodies[] = {{"one"}, {"two"}, {"a third, which is longer than the others are"}};
    if (m->count && dice(seed, 5) == 0) { /* a retry, sometimes with another payload */
        struct command c = m->done[dice(seed, m->count)].cmd;
        if (dice(seed, 3) == 0)
            c.body = text(bodies[dice(seed, 3)].text);
        if (dice(seed, 4) == 0 ||
            c.kind == COMMAND_FENCE) { /* what became of it; or sent when it is fenced */
            c.kind = c.kind == COMMAND_FENCE && dice(seed, 2) ? COMMAND_SEND : COMMAND_FENCE;
            c.body = c.kind == COMMAND_FENCE ? (struct span){0} : text(bodies[dice(seed, 3)].text);
            c.target = (struct span){0};
            c.role = (enum member_role)0;
            c.created_at_ms = 0;
        }
        return c;
    }
    struct command c = {.kind = (enum command_kind)(COMMAND_ADD + dice(seed, 3)),
                        .service = dice(seed, 12) == 0};
    if (dice(seed, 2))
        c.kind = dice(seed, 10) ? COMMAND_SEND : COMMAND_FENCE;
    unsigned actor = (unsigned)dice(seed, USERS),
             target = dice(seed, 2) ? actor : (unsigned)dice(seed, USERS);
    c.actor = text(names[actor]);
    c.actor_hash = user_hash(c.actor);
    snprintf(cids[n], sizeof cids[n], "c%u", n);
    c.client_id = text(cids[n]);
    if (c.kind == COMMAND_SEND) {
        c.body = text(bodies[dice(seed, 3)].text);
        c.created_at_ms = dice(seed, 20) ? 0 : 5;
        return c;
    }
    if (c.kind == COMMAND_FENCE)
        return c;
    if (dice(seed, 3) == 0) {
        c.kind = COMMAND_RECEIPT;
        c.client_id = (struct span){0};
        c.read_seq = dice(seed, 2) ? dice(seed, m->seq + 2) : 0;
        c.delivered_seq = c.read_seq && dice(seed, 2) ? 0 : 1 + dice(seed, m->seq + 2);
        return c;
    }
    c.target = text(names[target]);
    c.target_hash = user_hash(c.target);
    c.role = c.kind == COMMAND_REMOVE ? 0 : (enum member_role)dice(seed, 5);
    if (c.kind == COMMAND_ROLE && c.role == 0)
        c.role = ROLE_MEMBER;
    return c;
}

static void step(struct world *w, struct model *m, const struct command *c)
{
    uint64_t position = w->end;
    uint64_t uncommitted = conversation_basis(w->conv);
    struct verdict v = world_do(w, c);
    struct done *first = done_before(m, c);
    unsigned role = 0;
    if (first) {
        bool fenced = first->cmd.kind == COMMAND_FENCE;
        bool same =
            same_payload(&first->cmd, c) || (c->kind == COMMAND_FENCE && first->cmd.kind == COMMAND_SEND);
        assert_int_equal(v.kind, same ? VERDICT_DUPLICATE : VERDICT_REFUSED);
        if (same)
            assert_true(v.id == first->id && v.seq == first->seq);
        else
            assert_int_equal(v.error, fenced ? -PARLEY_ERR_FENCED : -PARLEY_ERR_CONFLICT);
        assert_int_equal(v.basis, first->position >= w->applied ? first->id : 0);
        return;
    }
    int rc = judge(m, c, &role);
    if (rc == 0) {
        assert_int_equal(v.kind, VERDICT_EVENTS);
        happen(m, c, role, &v, position);
        return;
    }
    assert_int_equal(v.kind, rc < 0 ? VERDICT_REFUSED : VERDICT_DUPLICATE);
    if (rc < 0)
        assert_int_equal(v.error, rc);
    assert_int_equal(v.basis, uncommitted);
}

static void check_members(struct world *w, const struct model *m)
{
    for (unsigned u = 0; u < USERS; u++) {
        const struct model_user *want = &m->users[u];
        struct id16 hash = user_hash(text(names[u]));
        struct page *page = world_page(w, page_number(&hash, w->conv->applied.page_count));
        assert_null(page->ahead);
        const struct member *have = page_find(page->applied, &hash);
        assert_int_equal(have != NULL, want->ever);
        if (!have)
            continue;
        assert_true(have->role == want->role && have->interval_count == want->joins);
        assert_true(have->read_seq == want->read && have->delivered_seq == want->delivered);
        for (unsigned i = 0; i < want->joins; i++)
            assert_true(member_intervals(have)[i].joined == want->joined[i] &&
                        member_intervals(have)[i].left == want->left[i]);
    }
}

static void check(struct world *w, const struct model *m)
{
    const struct conversation_counts *n = &w->conv->applied;
    unsigned entries = 0;
    for (unsigned u = 0; u < USERS; u++)
        entries += m->users[u].ever;
    assert_int_equal(n->entries, entries);
    assert_memory_equal(n, &w->conv->ahead, sizeof *n);
    assert_true(n->members == m->members && n->owners == m->owners && n->last_seq == m->seq);
    check_members(w, m);
}

/* The messages, from the store's chunks and those in memory: all, in order, each once. */
static void check_messages(struct world *w, const struct model *m)
{
    world_write_back(w, 0);
    uint64_t seen = 0, bodies = 0;
    for (unsigned i = 0; i < m->count; i++)
        bodies += m->done[i].cmd.kind == COMMAND_SEND;
    for (uint32_t i = 0; i < w->row_count; i++) {
        struct message msg;
        struct chunk_cursor cursor = chunk_begin((struct span){w->rows[i].data, w->rows[i].len});
        while (w->rows[i].kind == 'c' && chunk_next(&cursor, &msg) == 0)
            seen++;
    }
    assert_int_equal(seen, m->seq);
    assert_int_equal(bodies, m->seq);
    for (unsigned i = 0; i < m->count; i++) {
        struct message msg;
        int found = m->done[i].cmd.kind != COMMAND_SEND;
        for (uint32_t j = 0; j < w->row_count && !found; j++)
            if (w->rows[j].kind == 'c' &&
                chunk_find_seq((struct span){w->rows[j].data, w->rows[j].len}, m->done[i].seq, &msg) == 0)
                found = msg.id == m->done[i].id && equal(msg.body, m->done[i].cmd.body);
        assert_true(found);
    }
}

static void create(struct world *w, struct model *m, unsigned type)
{
    struct command_member other = {.user = text(names[1]), .hash = user_hash(text(names[1]))};
    struct command c = {.kind = COMMAND_CREATE,
                        .actor = text(names[0]),
                        .actor_hash = user_hash(text(names[0])),
                        .client_id = text("create"),
                        .conversation = w->id,
                        .type = (enum conversation_type)type,
                        .members = &other,
                        .member_count = 1};
    m->type = type;
    struct verdict v = world_do(w, &c);
    assert_int_equal(v.kind, VERDICT_EVENTS);
    for (unsigned u = 0; u < 2; u++) {
        m->users[u] = (struct model_user){.active = true, .ever = true, .joins = 1, .joined = {v.id}};
        m->users[u].role = type == CONVERSATION_DIRECT || u == 1 ? ROLE_MEMBER : ROLE_OWNER;
    }
    m->members = 2;
    m->owners = type == CONVERSATION_DIRECT ? 0 : 1;
    m->last_id = v.id;
    uint64_t id = v.id;
    v = world_do(w, &c);
    assert_true(v.kind == VERDICT_DUPLICATE && v.id == id && v.basis == id);
}

static void row_of_all(struct world *w, uint8_t *buf, size_t max, size_t *len)
{
    struct bytes_writer out = bytes_writer_of(buf, max);
    uint64_t open_chunk_id = w->conv->open_chunk_id;
    w->conv->open_chunk_id = 0; /* where chunks begin depends on what was in memory */
    conversation_encode(w->conv, &out);
    w->conv->open_chunk_id = open_chunk_id;
    for (uint32_t number = 0; number < w->conv->applied.page_count; number++)
        page_encode(world_page(w, number), &out);
    assert_false(out.failed);
    *len = bytes_writer_len(&out);
}

static uint32_t replayed_kinds; /* a bit each */

static void same_after_replay(struct world *w)
{
    static uint8_t before[65536], after[65536];
    size_t before_len, after_len;
    world_commit(w, w->end);
    row_of_all(w, before, sizeof before, &before_len);
    world_drop_objects(w);
    world_objects(w);
    for (uint32_t i = 0; i < w->row_count; i++)
        free(w->rows[i].data);
    w->row_count = 0;
    for (uint64_t p = 1; p < w->end; p++) {
        world_apply(w, p);
        world_apply(w, p); /* twice is once */
        replayed_kinds |= 1U << world_event(w, p).kind;
    }
    for (uint64_t p = 1; p < w->end; p++)
        world_apply(w, p);
    row_of_all(w, after, sizeof after, &after_len);
    assert_int_equal(before_len, after_len);
    assert_memory_equal(before, after, before_len);
}

static void run_history(uint64_t seed, unsigned type, unsigned steps)
{
    struct id16 id = {{(uint8_t)seed, (uint8_t)type}};
    struct world *w = world_new(id);
    static struct model model;
    struct model *m = &model;
    memset(m, 0, sizeof *m);
    create(w, m, type);
    uint64_t written = 1; /* everything below is in the store: replay may begin there or anywhere before */
    for (unsigned n = 0; n < steps; n++) {
        struct command c = random_command(m, &seed, n);
        c.conversation = id;
        step(w, m, &c);
        w->ctx.now_ms += dice(&seed, 3000);
        if (dice(&seed, 97) == 0)
            w->ctx.now_ms -= 3600000;
        if (dice(&seed, 4) == 0)
            world_commit(w, w->applied + dice(&seed, 8));
        if (dice(&seed, 40) == 0) {
            world_write_back(w, (uint32_t)dice(&seed, 70));
            written = w->applied;
        }
        if (dice(&seed, 150) == 0) {
            world_commit(w, w->end);
            world_crash(w, written - dice(&seed, written), dice(&seed, 2));
            check(w, m);
        }
    }
    world_commit(w, w->end);
    check(w, m);
    check_messages(w, m);
    same_after_replay(w);
    check(w, m);
    check_messages(w, m);
    world_free(w);
}

static void histories_agree_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++)
        for (unsigned type = CONVERSATION_DIRECT; type <= CONVERSATION_CHANNEL; type++)
            run_history(seed, type, type == CONVERSATION_DIRECT ? 400 : 1200);
    /* Two kinds are of no conversation, and a page is split by more members; shard_replay_test has those. */
    for (unsigned kind = EVENT_TICK; kind < EVENT_KIND_END; kind++)
        assert_true(kind == EVENT_TICK || kind == EVENT_PROFILE || kind == EVENT_SPLIT ||
                    (replayed_kinds & 1U << kind));
}

/* A row that is older than the redo says, or events that are missing: once an assertion ended the server. */
static void an_event_that_does_not_follow_is_damage(void **state)
{
    (void)state;
    struct conversation *c;
    struct dedup_options options = {1000, 1000};
    struct id16 id = {{1}};
    struct event message = {
        .kind = EVENT_MESSAGE, .id = 10, .seq = 1, .conversation = id, .actor = text("ann")};
    assert_int_equal(conversation_create(&id, &options, &c), 0);
    assert_int_equal(conversation_apply(c, &message, 1), -PARLEY_ERR_CORRUPT); /* nobody created it */
    struct event created = {.kind = EVENT_CREATED,
                            .id = 9,
                            .conversation = id,
                            .type = CONVERSATION_GROUP,
                            .page_count = 1,
                            .actor = text("ann")};
    assert_int_equal(conversation_apply(c, &created, 2), 0);
    assert_int_equal(conversation_apply(c, &created, 3), -PARLEY_ERR_CORRUPT);
    message.seq = 2;
    assert_int_equal(conversation_apply(c, &message, 3), -PARLEY_ERR_CORRUPT); /* message 1 is missing */
    message.seq = 1;
    assert_int_equal(conversation_apply(c, &message, 3), 0);
    message.seq = 2;
    assert_int_equal(conversation_apply(c, &message, 4), -PARLEY_ERR_CORRUPT); /* the same id again */
    assert_int_equal(c->position, 3);
    assert_int_equal(c->applied.last_seq, 1);
    conversation_destroy(&c);
}

int main(void)
{
    for (unsigned i = 0; i < USERS; i++)
        snprintf(names[i], sizeof names[i], "u%u", i);
    const struct CMUnitTest tests[] = {cmocka_unit_test(histories_agree_with_the_model),
                                       cmocka_unit_test(an_event_that_does_not_follow_is_damage)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Requests of one conversation are served in the order in which they came, whatever has to be loaded for whom. */
#include "tests/unit/shard_world.h"

enum { PIPELINE = 40 };

static const struct sim_store_odds icy = {1000, 100, 1000, 200};

/* One of many commands under way. */
struct asked {
    struct shard_request request;
    char client_id[16];
    bool answered;
    uint32_t order; /* in which it was answered */
    uint32_t *next_order;
};

static void note(struct shard_request *request)
{
    struct asked *a = request->owner;
    assert_false(a->answered);
    a->answered = true;
    a->order = (*a->next_order)++;
}

static void submit(struct world *w, struct asked *a, struct command c, uint32_t *next_order)
{
    *a = (struct asked){.next_order = next_order};
    snprintf(a->client_id, sizeof a->client_id, "q%llu",
             (unsigned long long)sim_file_random(w->sim) % 10000000);
    c.client_id = words(a->client_id);
    a->request = (struct shard_request){.command = c, .done = note, .kind = SHARD_COMMAND, .owner = a};
    shard_submit(w->shard, &a->request);
}

static struct command text(struct world *w, const char *actor)
{
    struct command c = about(w, COMMAND_SEND, actor, "", "");
    c.content_type = words("text/plain");
    c.body = words("pipelined");
    return c;
}

static void make_cold(struct world *w)
{
    w->options.memory_bytes_max = 0;
    sim_store_set(&icy, dice(w, 1000));
    world_restart(w);
    assert_int_equal(shard_object_count(w->shard), 0);
}

/* A channel of several pages of members: ann, and p0, p1 ... */
static void create_channel(struct world *w, uint32_t members)
{
    char id[16];
    struct command c = by("ann", "creation-channel");
    c.kind = COMMAND_CREATE;
    c.type = CONVERSATION_CHANNEL;
    c.conversation = w->conversation = group_id(c.type, "ann", "creation-channel");
    assert_int_equal(ask(w, c, NULL), 0);
    for (uint32_t i = 0; i < members; i++) {
        snprintf(id, sizeof id, "p%u", i);
        int err = -PARLEY_ERR_FULL;
        for (int tries = 0; err == -PARLEY_ERR_FULL && tries < 20; tries++) {
            err = ask(w, about(w, COMMAND_ADD, "ann", id, id), NULL);
            clock_manual_advance(&w->clock, 300000000);
        }
        assert_int_equal(err, 0);
    }
}

static void sends_to_a_cold_conversation(void **state)
{
    struct world *w = *state;
    struct id16 ids[3];
    const char *creations[] = {"creation-1", "creation-2", "creation-3"};
    struct asked asked[PIPELINE + PIPELINE / 2];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(create_group(w, creations[i], NULL), 0);
        ids[i] = w->conversation;
    }
    for (int round = 0; round < 30; round++) {
        uint32_t order = 0, count = 0;
        uint64_t seq[3], id = 0;
        for (int i = 0; i < 3; i++) {
            w->conversation = ids[i];
            seq[i] = summary_of(w).last_seq;
        }
        make_cold(w);
        uint8_t to[PIPELINE + PIPELINE / 2];
        for (; count < PIPELINE + PIPELINE / 2; count++) {
            to[count] = count % 3 ? 0 : (uint8_t)(1 + dice(w, 2));
            w->conversation = ids[to[count]];
            submit(w, &asked[count], text(w, names[dice(w, USERS)]), &order);
        }
        settle(w);
        for (uint32_t i = 0; i < count; i++) {
            assert_true(asked[i].answered && asked[i].request.error == 0);
            assert_int_equal(asked[i].request.seq, ++seq[to[i]]);
            if (to[i] == 0) {
                assert_true(asked[i].request.id > id);
                id = asked[i].request.id;
            }
        }
    }
}

/* Each command sees what those before it did: with cold pages, splits, and sends between them. */
static void members_who_come_and_go(void **state)
{
    enum { ADD, SEND, REMOVE, SEND_AGAIN, KINDS };
    struct world *w = *state;
    struct asked asked[PIPELINE];
    create_channel(w, 420);
    assert_true(summary_of(w).page_count > 3);
    for (int round = 0; round < 30; round++) {
        uint32_t order = 0;
        char zoe[16];
        snprintf(zoe, sizeof zoe, "zoe%d", round);
        make_cold(w);
        uint32_t members = w->options.limits.channel_members_max;
        for (uint32_t i = 0; i < PIPELINE; i++) {
            uint32_t kind = i % KINDS;
            if (kind == SEND || kind == SEND_AGAIN)
                submit(w, &asked[i], text(w, zoe), &order);
            else
                submit(w, &asked[i], about(w, kind == ADD ? COMMAND_ADD : COMMAND_REMOVE, "ann", "", zoe),
                       &order);
        }
        settle(w);
        for (uint32_t i = 0; i < PIPELINE; i++) {
            assert_true(asked[i].answered);
            assert_int_equal(asked[i].request.error, i % KINDS == SEND_AGAIN ? -PARLEY_ERR_NOT_MEMBER : 0);
            assert_false(asked[i].request.duplicate);
            assert_true(i % KINDS == SEND_AGAIN || i == 0 || asked[i].request.id > asked[i - 1].request.id);
        }
        members = summary_of(w).members;
        assert_int_equal(members, 421);
    }
}

/* A refusal does not come before that is durable on which it rests. */
static void a_refusal_waits_for_what_it_rests_on(void **state)
{
    struct world *w = *state;
    struct asked asked[3];
    uint32_t order = 0;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    make_cold(w);
    assert_int_equal(summary_of(w).members, USERS);
    sim_store_set(&calm, 1);
    sim_file_hold(w->sim, true);
    submit(w, &asked[0], about(w, COMMAND_REMOVE, "ann", "", "bob"), &order);
    submit(w, &asked[1], text(w, "bob"), &order);
    submit(w, &asked[2], text(w, "nobody"), &order);
    for (int i = 0; i < 10; i++)
        turn(w);
    assert_false(asked[0].answered || asked[1].answered);
    sim_file_hold(w->sim, false);
    settle(w);
    assert_int_equal(asked[0].request.error, 0);
    assert_int_equal(asked[1].request.error, -PARLEY_ERR_NOT_MEMBER);
    assert_int_equal(asked[2].request.error, -PARLEY_ERR_NOT_MEMBER);
    assert_true(asked[1].order > asked[0].order);
}

/* An answer may ask for more at once. */
struct chain {
    struct world *w;
    struct shard_request request;
    char client_id[16];
    uint32_t left;
    uint64_t seq;
};

static void chain_on(struct shard_request *request);

static void chain_submit(struct chain *chain)
{
    struct command c = text(chain->w, names[chain->left % USERS]);
    snprintf(chain->client_id, sizeof chain->client_id, "chain%u", chain->left);
    c.client_id = words(chain->client_id);
    chain->request =
        (struct shard_request){.command = c, .done = chain_on, .kind = SHARD_COMMAND, .owner = chain};
    shard_submit(chain->w->shard, &chain->request);
}

static void chain_on(struct shard_request *request)
{
    struct chain *chain = request->owner;
    assert_int_equal(request->error, 0);
    assert_int_equal(request->seq, ++chain->seq);
    if (--chain->left)
        chain_submit(chain);
}

static void an_answer_asks_for_more(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    make_cold(w);
    struct chain chain = {.w = w, .left = 50};
    chain_submit(&chain);
    for (int i = 0; i < 4000 && chain.left; i++)
        turn(w);
    assert_int_equal(chain.left, 0);
    settle(w);
}

/* What is asked of a conversation that is not there costs no memory, also when that has to be looked up. */
static void nothing_is_left_of_nothing(void **state)
{
    struct world *w = *state;
    struct asked asked[PIPELINE];
    uint32_t order = 0;
    make_cold(w);
    for (int i = 0; i < PIPELINE; i++) {
        w->conversation = hash_128(&key, &i, sizeof i);
        submit(w, &asked[i], text(w, "ann"), &order);
    }
    settle(w);
    for (int i = 0; i < PIPELINE; i++)
        assert_int_equal(asked[i].request.error, -PARLEY_ERR_NOT_FOUND);
    assert_int_equal(shard_object_count(w->shard), 0);
}

/* Whoever hears of a change of members hears of all the members, also of those whose pages rest in the store. */
static void an_effect_has_all_pages(void **state)
{
    struct world *w = *state;
    create_channel(w, 300);
    assert_in_range(summary_of(w).page_count, 3, MACHINE_FANOUT_PAGES_MAX);
    const enum command_kind kinds[] = {COMMAND_SEND, COMMAND_ADD, COMMAND_ROLE, COMMAND_REMOVE};
    for (int i = 0; i < 4; i++) {
        char id[16];
        struct command c = text(w, "ann");
        make_cold(w);
        w->lost_members = 0;
        if (kinds[i] != COMMAND_SEND)
            c = about(w, kinds[i], "ann", "", "zoe");
        c.role = kinds[i] == COMMAND_ROLE ? ROLE_ADMIN : 0;
        snprintf(id, sizeof id, "change %d", i);
        c.client_id = words(id);
        assert_int_equal(ask(w, c, NULL), 0);
        assert_int_equal(w->lost_members, 0);
    }
}

static void closing_answers_who_waits(void **state)
{
    struct world *w = *state;
    struct asked asked[PIPELINE];
    uint32_t order = 0;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int turns = 0; turns < 6; turns++) {
        make_cold(w);
        order = 0;
        for (int i = 0; i < PIPELINE; i++)
            submit(w, &asked[i], text(w, names[dice(w, USERS)]), &order);
        for (int i = 0; i < turns; i++)
            turn(w);
        uint64_t seq = 0;
        shard_close(&w->shard);
        for (int i = 0; i < PIPELINE; i++) {
            assert_true(asked[i].answered);
            assert_true(asked[i].request.error == 0 || asked[i].request.error == -PARLEY_ERR_CLOSING);
            if (asked[i].request.error == 0)
                seq = asked[i].request.seq;
        }
        assert_int_equal(world_open(w), 0);
        assert_true(summary_of(w).last_seq >= seq);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(sends_to_a_cold_conversation),
        ON_A_SHARD(members_who_come_and_go),
        ON_A_SHARD(a_refusal_waits_for_what_it_rests_on),
        ON_A_SHARD(an_answer_asks_for_more),
        ON_A_SHARD(nothing_is_left_of_nothing),
        ON_A_SHARD(an_effect_has_all_pages),
        ON_A_SHARD(closing_answers_who_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

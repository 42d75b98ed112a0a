/* Memory that runs out and rows that are damaged: who needed them gets an error, nobody else notices, nothing is lost. */
#include "tests/unit/shard_world.h"

/* Each of so many allocations of a path fails in turn; the seed makes loads and batches come differently. */
static uint64_t fail_max = 70, fail_seed;
static uint64_t runs, refused_paths;

static void turns(struct world *w, int count)
{
    for (int i = 0; i < count; i++)
        turn(w);
}

/* -- each allocation of a path fails in turn */

/* What a path does; the answer says whether it is done for now (answered, or the shard is dead). */
typedef void path_fn(struct world *w, uint64_t n);

static void one_answer(struct world *w, struct shard_request *r)
{
    bool answered = false;
    r->done = keep_answer;
    r->owner = &answered;
    shard_submit(w->shard, r);
    for (int i = 0; i < 200 && !answered && !w->fatal; i++)
        turn(w);
    assert_true(answered || w->fatal);
    memory_fail_after(0, 0);
    if (!answered) /* it is answered by the close */
        world_crash(w, 0);
    assert_true(answered);
    runs++;
    refused_paths += r->error != 0;
    if (r->error)
        assert_true(r->error == -PARLEY_ERR_NOMEM || r->error == -PARLEY_ERR_INTERNAL ||
                    r->error == -PARLEY_ERR_CLOSING);
}

static void path_send(struct world *w, uint64_t n)
{
    struct sent *m = new_send_of(w, n % 3 ? 0 : 3000);
    struct shard_request r = {.kind = SHARD_COMMAND, .command = send_command(m)};
    one_answer(w, &r);
    if (r.error) { /* once more, with memory: it is sent, and once */
        submit_send(w, m);
        settle(w);
        assert_true(m->acked);
        return;
    }
    m->acked = true;
    m->id = r.id;
    m->seq = r.seq;
}

static void path_retry(struct world *w, uint64_t n)
{
    const struct sent *m = &w->sends[n % 60];
    struct shard_request r = {.kind = SHARD_COMMAND, .command = send_command(m)};
    one_answer(w, &r);
    assert_true(r.error || (r.duplicate && r.id == m->id));
}

static void path_history(struct world *w, uint64_t n)
{
    struct shard_request r = {.kind = SHARD_HISTORY,
                              .command = by("ann", ""),
                              .history = {(enum history_way)(n % 3), w->sends[n * 2 % 200].id, 150}};
    r.command.conversation = w->conversation;
    one_answer(w, &r);
    assert_true(r.error || r.page.count > 0);
    memory_free(r.page.entries);
}

static void path_message(struct world *w, uint64_t n)
{
    const struct sent *m = &w->sends[n % 90];
    struct shard_request r = {.kind = SHARD_MESSAGE, .command = by(names[m->user], m->client_id)};
    r.command.conversation = w->conversation;
    one_answer(w, &r);
    assert_true(r.error || r.page.count == 1);
    memory_free(r.page.entries);
}

static void path_members(struct world *w, uint64_t n)
{
    struct shard_request r = {.kind = n % 2 ? SHARD_MEMBERS : SHARD_CONVERSATION, .command = by("ann", "")};
    r.command.conversation = w->conversation;
    one_answer(w, &r);
    assert_true(r.error || n % 2 == 0 || r.page.count >= USERS);
    memory_free(r.page.entries);
}

static void path_come_and_go(struct world *w, uint64_t n)
{
    char id[16];
    snprintf(id, sizeof id, "f%u-%u", (unsigned)n, (unsigned)dice(w, 1000000));
    struct shard_request r = {.kind = SHARD_COMMAND, .command = about(w, COMMAND_ADD, "ann", id, id)};
    one_answer(w, &r);
}

static void path_profile(struct world *w, uint64_t n)
{
    char id[16], name[16];
    struct shard_request r = {.kind = SHARD_COMMAND};
    snprintf(id, sizeof id, "f%u-%u", (unsigned)n, (unsigned)dice(w, 1000000));
    snprintf(name, sizeof name, "Ann %u", (unsigned)n);
    r.command = by("ann", id);
    r.command.kind = COMMAND_PROFILE;
    r.command.display_name = words(name);
    one_answer(w, &r);
    if (r.error)
        return;
    struct shard_request get = {.kind = SHARD_PROFILE, .command = by("bob", "")};
    get.command.target_hash = hash_of("ann");
    one_answer(w, &get);
    assert_int_equal(get.error, 0);
    assert_int_equal(get.page.len, strlen(name));
    assert_memory_equal(get.page.entries, name, get.page.len);
    memory_free(get.page.entries);
}

static void path_write_back(struct world *w, uint64_t n)
{
    memory_fail_after(0, 0);
    send_one(w, 20);
    send_one(w, n % 5 ? 20 : 20000);
    memory_fail_after(n, 1 + n % 4);
    runs++;
    clock_manual_advance(&w->clock, 2000000000);
    for (int i = 0; i < 20 && !w->fatal; i++) {
        clock_manual_advance(&w->clock, 300000000);
        turn(w);
    }
    memory_fail_after(0, 0);
    assert_false(w->fatal); /* write-back can wait */
    if (n % 2 == 0) {       /* another object's batch says that all before it is written: it is */
        char id[16];
        snprintf(id, sizeof id, "w%u", (unsigned)dice(w, 1000000));
        struct command c = by("bob", id);
        c.kind = COMMAND_PROFILE;
        c.display_name = words(id);
        sim_store_set(&(struct sim_store_odds){1000, 1000, 0, 1000}, n);
        assert_int_equal(ask(w, c, NULL), 0);
        rest(w);
        world_crash(w, 0);
        check_conversation(w);
    }
}

/* With `repeat` allocations that fail from the n-th on; cold or warm. */
static void fail_each(struct world *w, path_fn *path, uint64_t repeat, bool cold)
{
    static const struct sim_store_odds mixed = {500, 100, 500, 500};
    for (uint64_t n = 0; n < fail_max; n++) {
        sim_store_set(cold ? &mixed : &calm, fail_seed * 1000 + n);
        w->options.memory_bytes_max = cold ? 0 : 1 << 20;
        if (n % 10 == 0 || cold)
            world_restart(w);
        memory_fail_after(n, repeat);
        path(w, n);
        memory_fail_after(0, 0);
        if (w->fatal)
            world_crash(w, 0);
        turns(w, 5);
        if (n % 7 == 0)
            check_conversation(w);
    }
    check_conversation(w);
}

static void failing_allocations_lose_nothing(void **state)
{
    static path_fn *const paths[] = {path_send,    path_retry,       path_history, path_message,
                                     path_members, path_come_and_go, path_profile, path_write_back};
    struct world *w = *state;
    w->options.limits.group_members_max = 1 << 16;
    w->options.dirty_bytes_max = 1 << 20;
    w->options.log_bytes_max = 16 << 20;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 200, 0);
    for (size_t p = 0; p < sizeof paths / sizeof paths[0]; p++) {
        for (int cold = 0; cold < 2; cold++) {
            fail_each(w, paths[p], 1, cold);
            fail_each(w, paths[p], 3, cold);
            fail_each(w, paths[p], UINT64_MAX, cold); /* until it is answered */
        }
    }
    rest(w);
    world_crash(w, 0);
    check_conversation(w);
}

/* Whoever finds the reader pool full is told so, and asks again; the store's queue is waited for. */
static void full_queues_refuse_and_lose_nothing(void **state)
{
    struct world *w = *state;
    uint32_t refused = 0;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 300, 0);
    w->options.memory_bytes_max = 0;
    world_restart(w);
    sim_store_set(&(struct sim_store_odds){700, 100, 600, 500}, 8);
    sim_store_set_full(400);
    for (int i = 0; i < 600; i++) {
        bool answered = false;
        struct shard_request r = {.kind = i % 3 ? SHARD_HISTORY : SHARD_MESSAGE,
                                  .command = by(names[w->sends[i % 200].user], w->sends[i % 200].client_id),
                                  .history = {(enum history_way)(i % 3), w->sends[i % 300].id, 100},
                                  .done = keep_answer,
                                  .owner = &answered};
        r.command.conversation = w->conversation;
        shard_submit(w->shard, &r);
        if (i % 4 == 0)
            send_one(w, 0);
        settle(w);
        clock_manual_advance(&w->clock, 200000000);
        assert_true(answered && (r.error == 0 || r.error == -PARLEY_ERR_FULL));
        refused += r.error != 0;
        assert_true(r.error || r.page.count > 0);
        memory_free(r.page.entries);
        if (i % 150 == 149)
            world_crash(w, 0);
    }
    assert_true(refused > 20);
    sim_store_set_full(0);
    check_conversation(w);
    assert_false(w->fatal);
}

static void a_start_without_memory_is_refused_and_can_be_tried_again(void **state)
{
    struct world *w = *state;
    uint32_t refused = 0;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 100, 0);
    world_kill(w);
    w->muted = true;
    for (uint64_t n = 0; n < 400; n++) {
        memory_fail_after(n, 1);
        int err = world_open(w);
        memory_fail_after(0, 0);
        refused += err != 0;
        assert_true(err == 0 || err == -PARLEY_ERR_NOMEM);
        if (err)
            continue;
        assert_false(w->fatal);
        if (n % 40 == 0)
            check_conversation(w);
        world_kill(w);
    }
    assert_true(refused > 20);
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
}

/* -- damaged rows */

static struct id16 hurt, whole;

static void two_conversations(struct world *w)
{
    w->options.memory_bytes_max = 0;
    assert_int_equal(create_group(w, "creation-2", NULL), 0);
    whole = w->conversation;
    send_in_order(w, 150, 0);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    hurt = w->conversation;
    send_in_order(w, 300, 0);
    rest(w);
    shard_close(&w->shard);
}

static int send_to(struct world *w, struct id16 id)
{
    w->conversation = id;
    struct sent *m = new_send(w);
    submit_send(w, m);
    settle(w);
    assert_true(m->answered);
    return m->request.error;
}

static struct span id_span(const struct id16 *id)
{
    return (struct span){id->bytes, sizeof id->bytes};
}

/* Nobody can use the one; the other does not notice. */
static void a_family_is_damaged(struct world *w, enum store_family family, int at)
{
    struct shard_page page;
    two_conversations(w);
    assert_true(sim_store_damage("/store", family, id_span(&hurt), at) > 0);
    for (int cold = 0; cold < 2; cold++) {
        sim_store_set(cold ? &(struct sim_store_odds){1000, 100, 1000, 400} : &calm, 4);
        assert_int_equal(world_open(w), 0);
        for (int i = 0; i < 5; i++) {
            assert_int_equal(send_to(w, hurt), -PARLEY_ERR_CORRUPT);
            assert_int_equal(
                read_as_ann(w, SHARD_HISTORY, (struct history_query){HISTORY_BEFORE, 0, 10}, "", &page),
                -PARLEY_ERR_CORRUPT);
            assert_int_equal(send_to(w, whole), 0);
        }
        check_conversation(w);
        rest(w);
        turns(w, 100);
        assert_int_equal(shard_object_count(w->shard), 0); /* what could not be loaded left nothing behind */
        assert_false(w->fatal);
        shard_close(&w->shard);
    }
    assert_true(sim_store_damage("/store", family, id_span(&hurt), at) > 0); /* back: all is well */
    assert_int_equal(world_open(w), 0);
    assert_int_equal(send_to(w, hurt), 0);
    check_conversation(w);
}

static void a_conversation_row(void **state)
{
    a_family_is_damaged(*state, STORE_CONVERSATIONS, 0);
}

static void a_page_of_members(void **state)
{
    a_family_is_damaged(*state, STORE_MEMBERS, 0);
}

static void chunks_of_messages(void **state)
{
    a_family_is_damaged(*state, STORE_MESSAGES, 0);
}

static void the_head_of_the_filter(void **state)
{
    a_family_is_damaged(*state, STORE_FILTERS, 12);
}

/* An old chunk is damaged: who sends does not need it, who reads there is told, who reads elsewhere is served. */
static void an_old_chunk(void **state)
{
    struct world *w = *state;
    struct shard_page page;
    uint8_t prefix[24];
    two_conversations(w);
    uint32_t old = 150 + 64; /* the first of its second chunk */
    memcpy(prefix, hurt.bytes, sizeof hurt.bytes);
    for (int i = 0; i < 8; i++)
        prefix[16 + i] = (uint8_t)(~w->sends[old].id >> (56 - 8 * i));
    assert_int_equal(sim_store_damage("/store", STORE_MESSAGES, (struct span){prefix, sizeof prefix}, 0), 1);
    for (int cold = 0; cold < 2; cold++) {
        sim_store_set(cold ? &(struct sim_store_odds){1000, 100, 1000, 400} : &calm, 4);
        assert_int_equal(world_open(w), 0);
        for (int way = 0; way < 3; way++) {
            struct history_query query = {(enum history_way)way, w->sends[old + 10].id, 20};
            assert_int_equal(send_to(w, hurt), 0);
            assert_int_equal(read_as_ann(w, SHARD_HISTORY, query, "", &page), -PARLEY_ERR_CORRUPT);
            query.from = w->sends[old + 150].id;
            assert_int_equal(read_as_ann(w, SHARD_HISTORY, query, "", &page), 0);
            assert_int_equal(page.count, 20);
            memory_free(page.entries);
        }
        shard_close(&w->shard);
    }
    assert_int_equal(world_open(w), 0);
}

/* A dedup row of which a part is missing: a retry that needs it is refused, not sent twice. */
static void a_dedup_row(void **state)
{
    struct world *w = *state;
    two_conversations(w);
    assert_true(sim_store_damage("/store", STORE_DEDUP, id_span(&hurt), 24 + 6) > 0); /* its first id */
    assert_int_equal(world_open(w), 0);
    for (int i = 0; i < 3; i++) {
        w->conversation = hurt;
        struct sent *m = &w->sends[150 + 30];
        m->acked = false;
        submit_send(w, m);
        settle(w);
        assert_int_equal(m->request.error, -PARLEY_ERR_CORRUPT);
        assert_int_equal(send_to(w, hurt), 0);
        m->acked = true;
    }
    check_conversation(w);
}

static void the_position_of_the_store(void **state)
{
    struct world *w = *state;
    w->muted = true;
    two_conversations(w);
    assert_int_equal(sim_store_damage("/store", STORE_META, words("position"), 0), 1);
    assert_int_equal(world_open(w), -PARLEY_ERR_CORRUPT);
    assert_int_equal(sim_store_damage("/store", STORE_META, words("position"), 0), 1);
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
}

/* A conversation whose newest chunk is gone is refused, not continued with a hole. */
static void a_missing_newest_chunk(void **state)
{
    struct world *w = *state;
    two_conversations(w);
    assert_true(sim_store_remove("/store", STORE_MESSAGES, id_span(&hurt)) > 3);
    assert_int_equal(world_open(w), 0);
    assert_int_equal(send_to(w, hurt), -PARLEY_ERR_CORRUPT);
    assert_int_equal(send_to(w, whole), 0);
}

/* With COUNT SEED: row 8 of docs/reliability.md, only the first test, and its counts as a line of JSON. */
int main(int argc, char **argv)
{
    const struct CMUnitTest allocations[] = {ON_A_SHARD(failing_allocations_lose_nothing)};
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(failing_allocations_lose_nothing),
        ON_A_SHARD(full_queues_refuse_and_lose_nothing),
        ON_A_SHARD(a_start_without_memory_is_refused_and_can_be_tried_again),
        ON_A_SHARD(a_conversation_row),
        ON_A_SHARD(a_page_of_members),
        ON_A_SHARD(chunks_of_messages),
        ON_A_SHARD(the_head_of_the_filter),
        ON_A_SHARD(an_old_chunk),
        ON_A_SHARD(a_dedup_row),
        ON_A_SHARD(the_position_of_the_store),
        ON_A_SHARD(a_missing_newest_chunk),
    };
    if (argc != 3)
        return cmocka_run_group_tests(tests, NULL, NULL);
    fail_max = strtoull(argv[1], NULL, 10);
    fail_seed = strtoull(argv[2], NULL, 10);
    int failed = cmocka_run_group_tests(allocations, NULL, NULL);
    printf("{\"runs\":%llu,\"refused\":%llu}\n", (unsigned long long)runs, (unsigned long long)refused_paths);
    return failed;
}

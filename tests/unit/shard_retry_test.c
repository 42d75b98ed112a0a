/* A retry gets the first answer, however long ago: out of memory, out of the store, after any restart. */
#include "tests/unit/shard_world.h"

static int retry(struct world *w, struct sent *m, bool other_payload)
{
    struct shard_request request;
    struct command c = send_command(m);
    if (other_payload)
        c.body = words("something else");
    int err = ask_for(w, c, &request);
    if (!err) {
        assert_true(request.duplicate);
        assert_int_equal(request.id, m->id);
        assert_int_equal(request.seq, m->seq);
    }
    return err;
}

static int look_up(struct world *w, const struct sent *m, bool by_id)
{
    struct shard_request request = {.command = by(names[m->user], by_id ? "" : m->client_id),
                                    .done = keep_answer,
                                    .kind = SHARD_MESSAGE,
                                    .history = {.from = by_id ? m->id : 0}};
    bool answered = false;
    struct message found;
    request.owner = &answered;
    request.command.conversation = w->conversation;
    shard_submit(w->shard, &request);
    settle(w);
    assert_true(answered);
    if (!request.error) {
        struct chunk_cursor at = chunk_begin((struct span){request.page.entries, request.page.len});
        assert_int_equal(request.page.count, 1);
        assert_int_equal(chunk_next(&at, &found), 0);
        assert_int_equal(found.id, m->id);
        assert_ptr_equal(check_message(w, &found), m);
    }
    memory_free(request.page.entries);
    return request.error;
}

static void everything_is_known(struct world *w)
{
    for (uint32_t i = 0; i < w->send_count; i += 1 + (uint32_t)dice(w, 7)) {
        assert_int_equal(retry(w, &w->sends[i], false), 0);
        assert_int_equal(retry(w, &w->sends[i], true), -PARLEY_ERR_CONFLICT);
        assert_int_equal(look_up(w, &w->sends[i], true), 0);
        assert_int_equal(look_up(w, &w->sends[i], false), 0);
    }
}

static void old_messages_are_known(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_many(w, 600, 0);
    rest(w);
    for (uint32_t cold = 0; cold <= 1000;
         cold += 500) { /* rows come from the cache, or from a thread, or both */
        sim_store_set(&(struct sim_store_odds){1000, 100, cold, 300}, cold);
        for (uint64_t memory = 0; memory <= 1 << 20; memory += 1 << 20) {
            w->options.memory_bytes_max = memory;
            world_restart(w);
            everything_is_known(w);
            world_crash(w, 0);
            everything_is_known(w);
        }
    }
    uint64_t last = summary_of(w).last_seq;
    assert_int_equal(last, 600);
    check_conversation(w);
}

static void what_was_never_sent_is_not_found(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_many(w, 200, 0);
    rest(w);
    struct sent none = w->sends[100];
    snprintf(none.client_id, sizeof none.client_id, "none");
    assert_int_equal(look_up(w, &none, false), -PARLEY_ERR_NOT_FOUND);
    none.id = w->sends[199].id + 1000;
    assert_int_equal(look_up(w, &none, true), -PARLEY_ERR_NOT_FOUND);
}

/* Membership commands are no messages, and answer the same way. */
static void old_membership_commands_are_known(void **state)
{
    struct world *w = *state;
    uint64_t added[20], removed[20], again;
    char id[16];
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "a%d", i);
        assert_int_equal(ask(w, about(w, COMMAND_ADD, "ann", id, "zoe"), &added[i]), 0);
        snprintf(id, sizeof id, "r%d", i);
        assert_int_equal(ask(w, about(w, COMMAND_REMOVE, "ann", id, "zoe"), &removed[i]), 0);
    }
    send_many(w, 200, 0);
    rest(w);
    sim_store_set(&rough, 3);
    w->options.memory_bytes_max = 0;
    world_restart(w);
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "a%d", i);
        assert_int_equal(ask(w, about(w, COMMAND_ADD, "ann", id, "zoe"), &again), 0);
        assert_int_equal(again, added[i]);
        snprintf(id, sizeof id, "r%d", i);
        assert_int_equal(ask(w, about(w, COMMAND_REMOVE, "ann", id, "zoe"), &again), 0);
        assert_int_equal(again, removed[i]);
    }
    assert_int_equal(summary_of(w).members, USERS);
}

static void profiles_are_known(void **state)
{
    struct world *w = *state;
    uint64_t ids[6], again;
    char id[16], name[16];
    for (int start = 0; start < 4; start++) {
        for (int i = 0; i < 6; i++) {
            snprintf(id, sizeof id, "p%d", i);
            snprintf(name, sizeof name, "Ann the %d.", i);
            struct command c = by("ann", id);
            c.kind = COMMAND_PROFILE;
            c.display_name = words(name);
            assert_int_equal(ask(w, c, start ? &again : &ids[i]), 0);
            assert_true(start == 0 || again == ids[i]);
            c.display_name = words("another");
            assert_int_equal(ask(w, c, NULL), -PARLEY_ERR_CONFLICT);
        }
        rest(w);
        w->options.memory_bytes_max = 0;
        sim_store_set(start % 2 ? &rough : &calm, 3);
        start == 2 ? world_crash(w, 0) : world_restart(w);
        bool answered = false;
        struct shard_request get = {
            .kind = SHARD_PROFILE, .command = by("bob", ""), .done = keep_answer, .owner = &answered};
        get.command.target_hash = hash_of("ann");
        shard_submit(w->shard, &get);
        settle(w);
        assert_true(answered && get.error == 0);
        assert_int_equal(get.page.len, strlen(name));
        assert_memory_equal(get.page.entries, name, get.page.len);
        memory_free(get.page.entries);
    }
}

/* What is decided but not committed is known too, and the retry's answer waits for it. */
static void a_retry_waits_for_the_commit_of_the_first(void **state)
{
    struct world *w = *state;
    struct shard_request second = {.done = keep_answer};
    bool answered = false;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    sim_file_hold(w->sim, true);
    struct sent *m = new_send(w);
    submit_send(w, m);
    second.command = send_command(m);
    second.owner = &answered;
    shard_submit(w->shard, &second);
    for (int i = 0; i < 5; i++)
        turn(w);
    assert_false(m->answered || answered);
    sim_file_hold(w->sim, false);
    settle(w);
    assert_true(m->acked && answered && second.duplicate && second.error == 0);
    assert_int_equal(second.id, m->id);
}

/* A dedup row that comes when the request that asked for it was answered already. */
static void closing_while_a_row_is_being_loaded(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_many(w, 200, 0);
    rest(w);
    world_restart(w);
    assert_int_equal(summary_of(w).last_seq, 200); /* it is in memory now, its old rows are not */
    sim_store_set(&(struct sim_store_odds){1000, 100, 1000, 500}, 3);
    struct sent *m = &w->sends[3];
    m->acked = false;
    submit_send(w, m);
    assert_false(m->answered);
    assert_int_equal(shard_waiting_count(w->shard), 1);
    shard_close(&w->shard);
    assert_true(m->answered);
    assert_int_equal(m->request.error, -PARLEY_ERR_CLOSING);
    m->acked = true;
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(old_messages_are_known),
        ON_A_SHARD(what_was_never_sent_is_not_found),
        ON_A_SHARD(old_membership_commands_are_known),
        ON_A_SHARD(profiles_are_known),
        ON_A_SHARD(a_retry_waits_for_the_commit_of_the_first),
        ON_A_SHARD(closing_while_a_row_is_being_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

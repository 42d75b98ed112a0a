/* A shard on a simulated disk and a simulated store: whatever is acknowledged is there after every crash, once, in order. */
#include "tests/unit/shard_world.h"

static void crash(struct world *w, int64_t clock_step_ms)
{
    world_crash(w, clock_step_ms);
    live_of(w, &w->conversation)->seq = summary_of(w).last_seq;
}

static void creating_twice_creates_once(void **state)
{
    struct world *w = *state;
    uint64_t first, second;
    assert_int_equal(create_group(w, "creation-1", &first), 0);
    uint32_t objects = shard_object_count(w->shard);
    assert_int_equal(create_group(w, "creation-1", &second), 0);
    assert_int_equal(first, second);
    assert_int_equal(shard_object_count(w->shard), objects);
}

static void a_retry_is_answered_and_another_payload_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    struct sent *m = new_send(w);
    submit_send(w, m);
    assert_false(m->answered); /* not before it is durable */
    settle(w);
    assert_true(m->acked);
    submit_send(w, m);
    assert_true(m->request.duplicate);
    struct sent other = *m;
    other.body = (char[]){"something else"};
    other.body_len = strlen(other.body);
    submit_send(w, &other);
    assert_int_equal(other.request.error, -PARLEY_ERR_CONFLICT);
    check_conversation(w);
}

static void asking_for_nothing_costs_nothing(void **state)
{
    struct world *w = *state;
    uint32_t objects = shard_object_count(w->shard);
    for (int i = 0; i < 1000; i++) {
        struct command c = by("ann", "x");
        c.kind = COMMAND_SEND;
        c.conversation = hash_128(&key, &i, sizeof i);
        c.content_type = words("text/plain");
        c.body = words("hello?");
        assert_true(ask(w, c, NULL) != 0);
    }
    assert_int_equal(shard_object_count(w->shard), objects);
}

static void too_many_waiting_are_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    uint32_t refused = 0;
    for (int i = 0; i < 100; i++) {
        struct sent *m = new_send(w);
        submit_send(w, m);
        refused += m->request.error == -PARLEY_ERR_FULL;
    }
    assert_int_equal(refused, 36);
    settle(w);
    check_conversation(w);
}

static void crashes_lose_nothing_that_was_acknowledged(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    sim_store_set(&rough, 7);
    for (int round = 0; round < 60; round++) {
        /* Sometimes everything fits into memory, sometimes nothing does. */
        w->options.memory_bytes_max = round % 2 ? 1 << 20 : 0;
        for (int step = 0; step < 30; step++) {
            uint64_t roll = dice(w, 10);
            sim_file_hold(w->sim, roll < 5);
            struct sent *old = w->send_count ? &w->sends[dice(w, w->send_count)] : NULL;
            if (roll == 0 && old && old->answered)
                submit_send(w, old);
            else if (w->send_count < 4000 && shard_waiting_count(w->shard) < 60)
                submit_send(w, new_send(w));
            if (roll > 3) {
                turn(w);
            }
            clock_manual_advance(&w->clock, 3000000);
        }
        sim_file_hold(w->sim, false);
        crash(w, round % 3 == 0 ? -3600000 : 1000); /* the clock an hour back: ids still rise */
        check_conversation(w);
        for (uint32_t i = 0; i < w->send_count; i++) { /* clients ask again until they know */
            if (w->sends[i].acked)
                continue;
            submit_send(w, &w->sends[i]);
            if (i % 50 == 49)
                settle(w);
        }
        settle(w);
        check_conversation(w);
    }
    for (uint32_t i = 0; i < w->send_count; i++)
        assert_true(w->sends[i].acked);
}

/* One block is durable: what is in the next one is not. */
static void the_next_block_waits(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int round = 0; round < 20; round++) {
        struct sent *first = new_send(w), *second;
        sim_file_hold(w->sim, true);
        submit_send(w, first);
        turn(w);
        turn(w);
        second = new_send(w);
        submit_send(w, second);
        assert_false(first->answered || second->answered);
        sim_file_release(w->sim, 1);
        for (int i = 0; i < 3 && !first->answered; i++)
            sim_file_layer(w->sim)->ops->poll(sim_file_layer(w->sim), false);
        assert_true(first->acked);
        assert_false(second->answered);
        sim_file_hold(w->sim, false);
        settle(w);
        assert_true(second->acked);
    }
    check_conversation(w);
}

static void a_failed_write_is_never_acknowledged(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    sim_file_fail_write(w->sim, 1, -PARLEY_ERR_IO);
    struct sent *m = new_send(w);
    submit_send(w, m);
    for (int i = 0; i < 5; i++) {
        turn(w);
    }
    assert_true(w->fatal);
    assert_false(m->answered);
    struct sent *late = new_send(w);
    submit_send(w, late);
    assert_int_equal(late->request.error, -PARLEY_ERR_CLOSING);
    crash(w, 0);
    check_conversation(w);
}

static void failing_allocations_refuse_and_change_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (uint64_t n = 0; n < 12; n++) {
        struct sent *m = new_send(w);
        memory_fail_after(n, 1);
        submit_send(w, m);
        memory_fail_after(0, 0);
        settle(w);
        assert_true(m->acked || m->request.error == -PARLEY_ERR_NOMEM);
        check_conversation(w);
    }
}

static void an_idle_shard_renews_its_ceiling(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    uint64_t before = sim_file_write_count(w->sim);
    for (int second = 0; second < 60; second++) {
        clock_manual_advance(&w->clock, 1000000000);
        turn(w);
    }
    uint64_t writes = sim_file_write_count(w->sim) - before;
    assert_in_range(writes, 10, 60); /* about two each lease of 5 s, not one a turn */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(creating_twice_creates_once),
        ON_A_SHARD(a_retry_is_answered_and_another_payload_refused),
        ON_A_SHARD(asking_for_nothing_costs_nothing),
        ON_A_SHARD(too_many_waiting_are_refused),
        ON_A_SHARD(crashes_lose_nothing_that_was_acknowledged),
        ON_A_SHARD(the_next_block_waits),
        ON_A_SHARD(a_failed_write_is_never_acknowledged),
        ON_A_SHARD(failing_allocations_refuse_and_change_nothing),
        ON_A_SHARD(an_idle_shard_renews_its_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

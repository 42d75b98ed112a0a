/* Row 7 of docs/reliability.md: a shard whose n-th log write or sync fails.
 *
 * shard_io COUNT SEED: n = 1..COUNT, each for a write and for a sync, while it runs and while it starts. Prints one line of JSON.
 */
#include "tests/unit/shard_world.h"

enum { TURNS = 4000 };

static uint64_t count, seed, runs, fatal;

/* Sends, now and then a rest in which it writes back, makes segments and trims; until the failure comes. */
static void load_until_fatal(struct world *w)
{
    for (int i = 0; i < TURNS && !w->fatal; i++) {
        if (dice(w, 3) == 0 && w->send_count < SENDS_MAX)
            submit_send(w, new_send_of(w, dice(w, 10) ? 100 : 9000));
        clock_manual_advance(&w->clock, dice(w, 20) ? 5000000 : 400000000);
        turn(w);
    }
}

static uint32_t acked_count(const struct world *w)
{
    uint32_t acked = 0;
    for (uint32_t i = 0; i < w->send_count; i++)
        acked += w->sends[i].acked;
    return acked;
}

/* Whatever comes after the failure, nobody is told that something is durable, and nothing more is written. */
static void check_fail_stop(struct world *w)
{
    uint32_t acked = acked_count(w);
    uint64_t writes = sim_file_write_count(w->sim);
    for (int i = 0; i < 50; i++) {
        if (i % 10 == 0 && w->send_count < SENDS_MAX)
            submit_send(w, new_send(w));
        clock_manual_advance(&w->clock, 100000000);
        turn(w);
    }
    assert_int_equal(acked_count(w), acked);
    assert_int_equal(sim_file_write_count(w->sim), writes);
}

static void fail_nth(struct world *w, uint64_t n, bool sync)
{
    if (sync)
        sim_file_fail_sync(w->sim, n, -PARLEY_ERR_IO);
    else
        sim_file_fail_write(w->sim, n, -PARLEY_ERR_IO);
}

static void while_it_runs(struct world *w, uint64_t n, bool sync)
{
    sim_store_set(&rough, seed * 1000 + n);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    fail_nth(w, n, sync);
    load_until_fatal(w);
    runs++;
    fatal += w->fatal;
    if (w->fatal)
        check_fail_stop(w);
    sim_store_set(&calm, 1);
    world_crash(w, 0);
    check_conversation(w);
    send_one(w, 10); /* and it goes on */
}

/* A start that meets the failure is refused, or was not touched by it; the next one is clean. */
static void while_it_starts(struct world *w, uint64_t n, bool sync)
{
    world_kill(w);
    fail_nth(w, n, sync);
    w->muted = true;
    runs++;
    if (world_open(w) == 0) {
        load_until_fatal(w);
        fatal += w->fatal;
        if (w->fatal)
            check_fail_stop(w);
        world_kill(w);
    } else {
        fatal++;
    }
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
}

static void failed_writes_and_syncs_are_never_acknowledged(void **state)
{
    (void)state;
    for (uint64_t n = 1; n <= count; n++) {
        for (int sync = 0; sync < 2; sync++) {
            struct world *w;
            assert_int_equal(world_set_up((void **)&w), 0);
            while_it_runs(w, n, sync);
            while_it_starts(w, n % 20 + 1, sync);
            world_tear_down((void **)&w);
        }
    }
    assert_true(fatal > runs / 3); /* else nothing was tried */
    printf("{\"runs\":%llu,\"fatal\":%llu}\n", (unsigned long long)runs, (unsigned long long)fatal);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(failed_writes_and_syncs_are_never_acknowledged)};
    if (argc != 3) {
        fprintf(stderr, "usage: shard_io COUNT SEED\n");
        return 2;
    }
    count = strtoull(argv[1], NULL, 10);
    seed = strtoull(argv[2], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Behind the commit: pressure, bounded memory, a log that stays short. */
#include "tests/unit/shard_world.h"

#include <sys/mman.h>
#include <unistd.h>

#include "src/base/logger.h"

static int try_send(struct world *w)
{
    struct sent *m = new_send(w);
    submit_send(w, m);
    settle(w);
    assert_true(m->answered);
    return m->request.error;
}

static void a_full_disk_refuses_commands_and_reads_go_on(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 200, 0);
    rest(w);
    w->options.memory_bytes_max = 0;
    world_restart(w);
    sim_store_set_pressure(STORE_DISK_FULL);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(try_send(w), -PARLEY_ERR_DISK_FULL);
        check_conversation(w);
    }
    sim_store_set_pressure(STORE_STOP);
    assert_int_equal(try_send(w), -PARLEY_ERR_FULL);
    check_conversation(w);
    sim_store_set_pressure(STORE_FINE);
    assert_int_equal(try_send(w), 0);
    for (uint32_t i = 200; i < 204; i++) { /* what was refused is not there, and can be sent */
        assert_false(w->sends[i].acked);
        submit_send(w, &w->sends[i]);
        settle(w);
        assert_true(w->sends[i].acked && !w->sends[i].request.duplicate);
    }
    check_conversation(w);
}

static void the_store_is_told_which_month_is_coming(void **state)
{
    struct world *w = *state;
    turn(w);
    uint32_t first = sim_store_expected_month();
    assert_int_equal(first, 2026 * 12 + 8);
    for (int day = 0; day < 14; day++) { /* it was the 21st of September */
        clock_manual_advance(&w->clock, UINT64_C(24) * 3600 * 1000000000);
        turn(w);
    }
    assert_int_equal(sim_store_expected_month(), first + 1);
}

/* What the logger wrote since. */
static void logged_into(int fd)
{
    logger_configure(&(struct logger_options){.fd = fd, .level = LOGGER_INFO, .lines_per_second_max = 1000});
}

static uint32_t lines_with(int fd, const char *words)
{
    static char text[64 << 10];
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    uint32_t count = 0;
    assert_true(len >= 0);
    text[len] = '\0';
    for (const char *at = strstr(text, words); at; at = strstr(at + 1, words))
        count++;
    return count;
}

static void a_clock_that_steps_back_is_told_once(void **state)
{
    struct world *w = *state;
    int fd = memfd_create("log", MFD_CLOEXEC);
    logged_into(fd);
    turn(w);
    clock_manual_step_wall(&w->clock, -500); /* as a time daemon does */
    turn(w);
    assert_int_equal(lines_with(fd, "clock_stepped_back"), 0);
    clock_manual_step_wall(&w->clock, -3600000);
    turn(w);
    turn(w);
    assert_int_equal(lines_with(fd, "event=clock_stepped_back shard="), 1);
    assert_int_equal(lines_with(fd, "by_ms=3600000"), 1);
    for (int i = 0; i < 3; i++) {
        world_restart(w);
        turn(w);
    }
    assert_int_equal(lines_with(fd, "clock_stepped_back"), 4); /* ids are ahead of it still */
    clock_manual_step_wall(&w->clock, 3600000);
    for (int i = 0; i < 3; i++) {
        world_restart(w);
        turn(w);
    }
    assert_int_equal(lines_with(fd, "clock_stepped_back"), 4);
    logged_into(STDERR_FILENO);
    close(fd);
}

static void a_stuck_store_is_not_filled_for_ever(void **state)
{
    struct world *w = *state;
    char creation[16];
    uint32_t refused = 0, accepted = 0;
    struct id16 ids[40];
    w->options.log_bytes_max = 64 << 20; /* it is not the log that refuses */
    w->options.segment_bytes = 1 << 20;
    world_restart(w);
    for (uint32_t i = 0; i < 40; i++) {
        snprintf(creation, sizeof creation, "creation-%u", i);
        while (create_group(w, creation, NULL) != 0)
            turn(w);
        ids[i] = w->conversation;
    }
    sim_store_set(&(struct sim_store_odds){0, 0, 0, 1000}, 1);
    uint64_t bytes = 0;
    for (int i = 0; i < 4000; i++) {
        w->conversation = ids[i % 40];
        int err = try_send(w);
        assert_true(err == 0 || err == -PARLEY_ERR_FULL);
        accepted += err == 0;
        refused += err != 0;
        clock_manual_advance(&w->clock, 20000000);
        struct shard_counters c = counters(w);
        assert_true(c.dirty_bytes <= w->options.dirty_bytes_max + 4096);
        if (i == 3000)
            bytes = c.object_bytes;
        assert_true(i <= 3000 || c.object_bytes <= bytes);
    }
    assert_true(accepted > 20 && refused > 1000);
    for (int i = 0; i < 40; i++) { /* reads go on */
        w->conversation = ids[i];
        check_conversation(w);
    }
    sim_store_set(&calm, 1);
    rest(w);
    for (uint32_t i = 0; i < w->send_count; i++) {
        if (w->sends[i].acked)
            continue;
        submit_send(w, &w->sends[i]);
        settle(w);
        if (!w->sends[i].acked)
            rest(w);
    }
    world_crash(w, 0);
    for (int i = 0; i < 40; i++) {
        w->conversation = ids[i];
        check_conversation(w);
    }
    assert_false(w->fatal);
}

/* Nothing is ever found persisted: the log grows to its limit, no further, and shrinks again. */
static void a_log_that_cannot_be_trimmed(void **state)
{
    struct world *w = *state;
    uint32_t accepted = 0;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    sim_store_set(&(struct sim_store_odds){1000, 0, 0, 0}, 1);
    for (int i = 0; i < 600; i++) {
        int err = try_send(w);
        assert_true(err == 0 || err == -PARLEY_ERR_FULL);
        accepted += err == 0;
        clock_manual_advance(&w->clock, 20000000);
    }
    assert_true(counters(w).log_bytes <= w->options.log_bytes_max + 3 * w->options.segment_bytes);
    assert_in_range(accepted, 20, 400);
    sim_store_set(&calm, 1);
    rest(w);
    assert_true(counters(w).log_bytes < w->options.log_bytes_max);
    assert_int_equal(try_send(w), 0);
    check_conversation(w);
}

enum { COLD = 30, LARGE_BODY_BYTES = 30000 };

static void overrun_done(struct shard_request *request)
{
    ++*(uint32_t *)request->owner;
    assert_true(request->error == 0 || request->error == -PARLEY_ERR_FULL);
}

/* There was room when each of them came; while their conversations are loaded, one after the other, it is used up. */
static void requests_that_waited_for_loads_overran_the_limits(void **state)
{
    struct world *w = *state;
    struct shard_request requests[COLD];
    static uint8_t body[LARGE_BODY_BYTES];
    struct id16 ids[COLD];
    char creation[16];
    uint32_t answered = 0;
    memset(body, 'a', sizeof body);
    for (uint32_t i = 0; i < COLD; i++) {
        snprintf(creation, sizeof creation, "creation-%u", i);
        assert_int_equal(create_group(w, creation, NULL), 0);
        ids[i] = w->conversation;
    }
    rest(w);
    w->options.memory_bytes_max = 0;
    world_restart(w);
    sim_store_set(&(struct sim_store_odds){0, 0, 1000, 20}, 7);
    for (uint32_t i = 0; i < COLD; i++) {
        w->conversation = ids[i];
        struct command c = about(w, COMMAND_SEND, "ann", "large", "");
        c.body = (struct span){body, sizeof body};
        requests[i] = (struct shard_request){
            .command = c, .done = overrun_done, .kind = SHARD_COMMAND, .owner = &answered};
        shard_submit(w->shard, &requests[i]);
    }
    while (answered < COLD) {
        turn(w);
        assert_true(counters(w).dirty_bytes <= w->options.dirty_bytes_max + 2 * w->options.segment_bytes);
    }
    sim_store_set(&calm, 1);
    rest(w);
}

static void what_the_log_refused_was_answered_with_an_id(void **state)
{
    struct world *w = *state;
    struct shard_request request;
    static uint8_t body[100000];
    w->options.limits.body_bytes_max = sizeof body; /* a block of this log holds less */
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    memset(body, 'a', sizeof body);
    struct command c = about(w, COMMAND_SEND, "ann", "large", "");
    c.body = (struct span){body, sizeof body};
    assert_int_equal(ask_for(w, c, &request), -PARLEY_ERR_TOO_LARGE);
    assert_int_equal(request.id, 0);
    assert_int_equal(request.seq, 0);
}

/* Few messages, each in a block of its own, and never a pause: the log is longer than what is in it. */
static void a_trickle_does_not_fill_the_log(void **state)
{
    struct world *w = *state;
    w->options.dirty_bytes_max = 4 << 20;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int i = 0; i < 2000; i++) {
        assert_int_equal(try_send(w), 0);
        clock_manual_advance(&w->clock, 500000000);
        assert_true(counters(w).log_bytes <= w->options.log_bytes_max);
    }
    check_conversation(w);
}

/* -- memory */

enum { MANY = 5000, AT_ONCE = 1000 };

static struct id16 many[MANY];

static void create_many(struct world *w)
{
    static struct {
        struct shard_request request;
        char client_id[16];
        bool answered;
    } asked[AT_ONCE];
    for (uint32_t i = 0; i < MANY; i++) {
        struct command_member bob = {.user = words("bob"), .hash = hash_of("bob")};
        uint32_t at = i % AT_ONCE;
        snprintf(asked[at].client_id, sizeof asked[at].client_id, "creation-%u", i);
        struct command c = by("ann", asked[at].client_id);
        c.kind = COMMAND_CREATE;
        c.type = CONVERSATION_GROUP;
        c.members = &bob;
        c.member_count = 1;
        c.conversation = many[i] = group_id(c.type, "ann", asked[at].client_id);
        asked[at].answered = false;
        asked[at].request = (struct shard_request){
            .command = c, .done = keep_answer, .kind = SHARD_COMMAND, .owner = &asked[at].answered};
        shard_submit(w->shard, &asked[at].request);
        if (at + 1 < AT_ONCE)
            continue;
        settle(w);
        for (uint32_t n = 0; n < AT_ONCE; n++)
            assert_true(asked[n].answered && asked[n].request.error == 0);
    }
}

static void many_conversations_in_little_memory(void **state)
{
    struct world *w = *state;
    w->options.request_count_max = 2 * AT_ONCE;
    w->options.memory_bytes_max = 256 << 10;
    w->options.dirty_bytes_max = 4 << 20;
    w->options.log_bytes_max = 32 << 20;
    shard_close(&w->shard);
    sim_store_forget();
    w->options.log_dir = "/wide";
    w->options.segment_bytes = 4 << 20;
    sim_store_set(&(struct sim_store_odds){700, 2, 300, 700}, 1);
    assert_int_equal(world_open(w), 0);
    create_many(w);
    for (int round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < MANY; i++) {
            w->conversation = many[i];
            struct sent *m = new_send(w);
            m->user = (uint32_t)dice(w, 2);
            submit_send(w, m);
            if (i % AT_ONCE + 1 < AT_ONCE)
                continue;
            settle(w);
            for (int turns = 0; turns < 20; turns++)
                turn(w);
            struct shard_counters c = counters(w);
            assert_true(c.object_bytes <= 2 * w->options.memory_bytes_max);
            assert_true(shard_object_count(w->shard) < MANY / 4);
        }
    }
    assert_true(counters(w).evictions > 2 * MANY && counters(w).loads_from_disk > MANY / 4);
    for (uint32_t i = 0; i < w->send_count; i++)
        assert_true(w->sends[i].acked);
    world_crash(w, 0);
    for (uint32_t i = 0; i < MANY; i += 40) {
        w->conversation = many[i];
        assert_int_equal(summary_of(w).last_seq, 3);
        struct sent *m = &w->sends[i];
        submit_send(w, m);
        settle(w);
        assert_true(m->request.duplicate);
    }
    for (uint32_t i = 0; i < MANY; i += 500) {
        w->conversation = many[i];
        check_conversation(w);
    }
}

/* With no room at all every object leaves as soon as nobody needs it, and none that somebody needs. */
static void no_memory_at_all(void **state)
{
    struct world *w = *state;
    w->options.memory_bytes_max = 0;
    sim_store_set(&rough, 1);
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int i = 0; i < 40; i++)
        send_in_order(w, 10, 0);
    rest(w);
    for (int i = 0; i < 100; i++)
        turn(w);
    assert_int_equal(shard_object_count(w->shard), 0);
    assert_int_equal(counters(w).object_bytes, 0);
    check_conversation(w);
}

/* Months of a shard to which nothing ever happens: its ticks fill the log, and nothing was ever written back. */
static void ticks_of_an_unused_shard_are_trimmed(void **state)
{
    struct world *w = *state;
    for (int i = 0; i < 2000; i++) {
        clock_manual_advance(&w->clock, 1000000000ull * 2);
        turn(w);
        assert_true(counters(w).log_bytes <= w->options.log_bytes_max);
    }
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
}

/* A pool that never finds the time to say what is persisted. */
static void ticks_filled_the_log_without_end(void **state)
{
    struct world *w = *state;
    sim_store_set(&(struct sim_store_odds){1000, 0, 0, 0}, 1);
    for (int i = 0; i < 2000; i++) {
        clock_manual_advance(&w->clock, 1000000000ull * 2);
        turn(w);
        assert_true(counters(w).log_bytes <= w->options.log_bytes_max + w->options.segment_bytes);
    }
    sim_store_set(&calm, 1);
    rest(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(a_full_disk_refuses_commands_and_reads_go_on),
        ON_A_SHARD(the_store_is_told_which_month_is_coming),
        ON_A_SHARD(a_clock_that_steps_back_is_told_once),
        ON_A_SHARD(a_stuck_store_is_not_filled_for_ever),
        ON_A_SHARD(a_log_that_cannot_be_trimmed),
        ON_A_SHARD(requests_that_waited_for_loads_overran_the_limits),
        ON_A_SHARD(what_the_log_refused_was_answered_with_an_id),
        ON_A_SHARD(a_trickle_does_not_fill_the_log),
        ON_A_SHARD(many_conversations_in_little_memory),
        ON_A_SHARD(no_memory_at_all),
        ON_A_SHARD(ticks_of_an_unused_shard_are_trimmed),
        ON_A_SHARD(ticks_filled_the_log_without_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

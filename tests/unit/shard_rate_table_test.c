/* Buckets: what they hold, what a full table forgets; and that a shard refuses new messages above a rate, never a retry. */
#include "tests/unit/shard_world.h"

static struct id16 key_of(uint64_t tag, uint64_t where)
{
    struct id16 k;
    memcpy(k.bytes, &tag, sizeof tag);
    memcpy(k.bytes + sizeof tag, &where, sizeof where);
    return k;
}

static uint32_t take_all(struct rate_table *t, const struct id16 *k, uint64_t now_ms)
{
    uint32_t taken = 0;
    for (; rate_table_wait(t, k, now_ms) == 0; taken++)
        rate_table_take(t, k, now_ms);
    return taken;
}

static void a_bucket_fills_at_its_rate(void **state)
{
    (void)state;
    struct rate_table t;
    struct id16 ann = key_of(0, 5), bob = key_of(7, 5);
    assert_int_equal(rate_table_init(&t, (struct rate){10, 5}), 0);
    for (uint64_t begin = 0; begin < 2; begin++) { /* also when time is 0 */
        uint64_t now = begin * 100000;
        assert_int_equal(take_all(&t, &ann, now), 5);
        assert_int_equal(rate_table_wait(&t, &ann, now), 100);
        assert_int_equal(rate_table_wait(&t, &ann, now + 99), 1);
        assert_int_equal(take_all(&t, &ann, now + 100), 1);
        assert_int_equal(take_all(&t, &ann, now + 350), 2);
        assert_int_equal(take_all(&t, &bob, now + 350), 5);
        assert_int_equal(take_all(&t, &ann, now + 60000), 5); /* no more than it holds */
    }
    rate_table_dispose(&t);
}

static void no_rate_and_the_extremes(void **state)
{
    (void)state;
    struct rate_table t;
    struct id16 ann = key_of(1, 1);
    assert_int_equal(rate_table_init(&t, (struct rate){0, 5}), 0);
    assert_null(t.buckets);
    rate_table_take(&t, &ann, 1);
    assert_int_equal(rate_table_wait(&t, &ann, 1), 0);
    rate_table_dispose(&t);
    assert_int_equal(rate_table_init(&t, (struct rate){1, 0}), 0);
    assert_int_equal(take_all(&t, &ann, 1), 1);
    assert_int_equal(rate_table_wait(&t, &ann, 1), 1000);
    rate_table_dispose(&t);
    assert_int_equal(rate_table_init(&t, (struct rate){RATE_PER_S_MAX, RATE_BURST_MAX}), 0);
    assert_int_equal(take_all(&t, &ann, 1), RATE_BURST_MAX);
    assert_int_equal(rate_table_wait(&t, &ann, 1), 1);
    rate_table_dispose(&t);
}

static void a_full_set_forgets_who_is_full_soonest(void **state)
{
    (void)state;
    struct rate_table t;
    assert_int_equal(rate_table_init(&t, (struct rate){10, 5}), 0);
    for (uint64_t tag = 1; tag <= RATE_WAYS; tag++) {
        struct id16 k = key_of(tag, 3);
        for (uint64_t i = 0; i < tag; i++)
            rate_table_take(&t, &k, 1000);
    }
    struct id16 another = key_of(99, 3), elsewhere = key_of(98, 4), first = key_of(1, 3), last = key_of(4, 3);
    assert_int_equal(take_all(&t, &elsewhere, 1000), 5);
    rate_table_take(&t, &another, 1000);
    assert_int_equal(take_all(&t, &last, 1000), 1); /* it is kept */
    assert_int_equal(take_all(&t, &another, 1000), 4);
    assert_int_equal(take_all(&t, &first, 1000), 5); /* it was forgotten: it begins full */
    rate_table_dispose(&t);
}

/* -- in a shard */

static int send_as(struct world *w, const char *user, const char *client_id, bool service,
                   struct shard_request *out)
{
    struct command c = about(w, COMMAND_SEND, user, client_id, "");
    c.body = words("hi");
    c.content_type = words("text/plain");
    c.service = service;
    return ask_for(w, c, out);
}

static void open_with(struct world *w, struct rate user, struct rate conversation)
{
    w->options.user_sends = user;
    w->options.conversation_sends = conversation;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
}

static void a_user_is_held_to_his_rate_and_a_retry_is_not(void **state)
{
    struct world *w = *state;
    struct shard_request first, r;
    open_with(w, (struct rate){1, 2}, (struct rate){0});
    assert_int_equal(send_as(w, "ann", "1", false, &first), 0);
    assert_int_equal(send_as(w, "ann", "2", false, &r), 0);
    assert_int_equal(send_as(w, "ann", "3", false, &r), -PARLEY_ERR_RATE);
    assert_in_range(r.retry_after_ms, 1, 1000);
    for (int i = 0; i < 5; i++) { /* what was accepted is answered as often as one asks */
        assert_int_equal(send_as(w, "ann", "1", false, &r), 0);
        assert_true(r.duplicate);
        assert_int_equal(r.id, first.id);
        assert_int_equal(r.retry_after_ms, 0);
    }
    assert_int_equal(send_as(w, "ann", "4", true, &r), 0); /* a service, for her */
    assert_int_equal(send_as(w, "bob", "1", false, &r), 0);
    assert_int_equal(send_as(w, "mallory", "1", false, &r), -PARLEY_ERR_NOT_MEMBER);
    clock_manual_advance(&w->clock, 1000000000);
    assert_int_equal(send_as(w, "ann", "3", false, &r), 0);
    assert_int_equal(send_as(w, "ann", "5", false, &r), -PARLEY_ERR_RATE);
    assert_int_equal(summary_of(w).last_seq, 5);
}

static void a_conversation_is_held_to_its_rate(void **state)
{
    struct world *w = *state;
    struct shard_request r;
    open_with(w, (struct rate){1000, 2}, (struct rate){1, 3});
    assert_int_equal(send_as(w, "ann", "1", false, &r), 0);
    assert_int_equal(send_as(w, "bob", "1", false, &r), 0);
    assert_int_equal(send_as(w, "cid", "1", false, &r), 0);
    assert_int_equal(send_as(w, "dora", "1", false, &r), -PARLEY_ERR_RATE);
    assert_int_equal(send_as(w, "dora", "1", false, &r), -PARLEY_ERR_RATE);
    assert_int_equal(send_as(w, "dora", "1", false, &r), -PARLEY_ERR_RATE);
    assert_int_equal(create_group(w, "creation-2", NULL), 0); /* her own tokens were not taken by refusals */
    assert_int_equal(send_as(w, "dora", "1", false, &r), 0);
    assert_int_equal(send_as(w, "dora", "2", false, &r), 0);
}

static void a_restart_forgets_buckets_and_no_message(void **state)
{
    struct world *w = *state;
    struct shard_request r;
    open_with(w, (struct rate){1, 1}, (struct rate){1, 1});
    assert_int_equal(send_as(w, "ann", "1", false, &r), 0);
    assert_int_equal(send_as(w, "ann", "2", false, &r), -PARLEY_ERR_RATE);
    world_crash(w, 0);
    assert_int_equal(send_as(w, "ann", "1", false, &r), 0);
    assert_true(r.duplicate);
    assert_int_equal(send_as(w, "ann", "2", false, &r), 0);
    assert_int_equal(r.seq, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_fills_at_its_rate),
        cmocka_unit_test(no_rate_and_the_extremes),
        cmocka_unit_test(a_full_set_forgets_who_is_full_soonest),
        ON_A_SHARD(a_user_is_held_to_his_rate_and_a_retry_is_not),
        ON_A_SHARD(a_conversation_is_held_to_its_rate),
        ON_A_SHARD(a_restart_forgets_buckets_and_no_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* Messages around a resume: whatever overtakes, repeats or is missing, each goes on once and in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <stdio.h>

#include "src/base/error.h"
#include "tools/client/text.h"
#include "tools/commands/sequence.h"

static struct text out;

static void emit(void *owner, struct span text)
{
    (void)owner;
    text_put_span(&out, text);
    text_put_words(&out, " ");
}

static int take_as(struct sequence *s, uint64_t n, bool replay)
{
    char words[24];
    snprintf(words, sizeof words, "%llu", (unsigned long long)n);
    return sequence_take(s, n * 10, n, replay, span_of_words(words));
}

/* A message with the number n has the id 10 n. */
static int live(struct sequence *s, uint64_t n)
{
    return take_as(s, n, false);
}

static int replayed(struct sequence *s, uint64_t n)
{
    return take_as(s, n, true);
}

static void assert_out(const char *wanted)
{
    assert_string_equal(text_words(&out), wanted);
    text_clear(&out);
}

static void live_ones_that_overtake_the_catch_up_come_again(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    sequence_resume(&s);
    assert_int_equal(live(&s, 7), 0); /* before the server had read the resume */
    assert_int_equal(live(&s, 1), 0);
    assert_out("");
    for (uint64_t n = 1; n < 8; n++)
        assert_int_equal(replayed(&s, n), 0);
    sequence_resumed(&s);
    assert_int_equal(live(&s, 7), 0);
    assert_int_equal(live(&s, 8), 0);
    assert_out("1 2 3 4 5 6 7 8 ");
}

static void a_gap_in_live_ones_asks_again(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    assert_int_equal(live(&s, 1), 0);
    assert_int_equal(live(&s, 3), -PARLEY_ERR_AGAIN);
    sequence_resume(&s);
    assert_int_equal(live(&s, 4), 0);
    assert_out("1 ");
    assert_int_equal(s.last_id, 10);
    for (uint64_t n = 2; n < 5; n++)
        assert_int_equal(replayed(&s, n), 0);
    sequence_resumed(&s);
    assert_out("2 3 4 ");
}

static void a_real_gap_goes_on_in_the_replay(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    assert_int_equal(live(&s, 1), 0);
    sequence_resume(&s);
    assert_int_equal(replayed(&s, 5), 0);
    assert_int_equal(replayed(&s, 6), 0);
    sequence_resumed(&s);
    assert_int_equal(live(&s, 7), 0);
    assert_out("1 5 6 7 ");
}

static void two_resumes_may_have_one_mark_or_two(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    sequence_resume(&s);
    sequence_resume(&s); /* lag */
    assert_int_equal(replayed(&s, 1), 0);
    assert_int_equal(replayed(&s, 2), 0);
    sequence_resumed(&s); /* of both: live from here */
    assert_int_equal(live(&s, 3), 0);
    assert_out("1 2 3 ");
    for (uint64_t n = 1; n < 4; n++) /* or of the first: the second repeats, and goes on */
        assert_int_equal(replayed(&s, n), 0);
    assert_int_equal(replayed(&s, 4), 0);
    sequence_resumed(&s);
    assert_int_equal(live(&s, 5), 0);
    assert_out("4 5 ");
}

static void an_unknown_number_is_learnt_from_the_first(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit, .last_id = 50};
    sequence_resume(&s);
    assert_int_equal(replayed(&s, 5), 0); /* repeated */
    assert_int_equal(replayed(&s, 7), 0);
    sequence_resumed(&s);
    assert_int_equal(live(&s, 8), 0);
    assert_out("7 8 ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_ones_that_overtake_the_catch_up_come_again),
        cmocka_unit_test(a_gap_in_live_ones_asks_again),
        cmocka_unit_test(a_real_gap_goes_on_in_the_replay),
        cmocka_unit_test(two_resumes_may_have_one_mark_or_two),
        cmocka_unit_test(an_unknown_number_is_learnt_from_the_first),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    text_free(&out);
    return failed;
}

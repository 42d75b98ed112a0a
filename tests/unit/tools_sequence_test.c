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

/* A message with the number n has the id 10 n. */
static int take(struct sequence *s, uint64_t n)
{
    char words[24];
    snprintf(words, sizeof words, "%llu", (unsigned long long)n);
    return sequence_take(s, n * 10, n, span_of_words(words));
}

static void assert_out(const char *wanted)
{
    assert_string_equal(text_words(&out), wanted);
    text_clear(&out);
}

static void live_ones_that_overtake_the_catch_up_wait(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    sequence_resume(&s);
    assert_int_equal(take(&s, 7), 0); /* live, before the server had read the resume */
    assert_int_equal(take(&s, 1), 0);
    assert_int_equal(take(&s, 2), 0);
    assert_out("1 2 ");
    for (uint64_t n = 3; n < 7; n++)
        assert_int_equal(take(&s, n), 0);
    assert_int_equal(take(&s, 7), 0);
    sequence_resumed(&s);
    assert_int_equal(take(&s, 8), 0);
    assert_out("3 4 5 6 7 8 ");
    sequence_clear(&s);
}

static void a_gap_in_live_ones_asks_again(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    assert_int_equal(take(&s, 1), 0);
    assert_int_equal(take(&s, 3), -PARLEY_ERR_AGAIN);
    sequence_resume(&s);
    assert_int_equal(take(&s, 4), 0);
    assert_out("1 ");
    assert_int_equal(s.last_id, 10);
    assert_int_equal(take(&s, 2), 0);
    assert_int_equal(take(&s, 3), 0);
    sequence_resumed(&s);
    assert_out("2 3 4 ");
    sequence_clear(&s);
}

static void a_real_gap_goes_on_when_the_server_has_sent_all(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    assert_int_equal(take(&s, 1), 0);
    sequence_resume(&s);
    sequence_resume(&s); /* lag, twice */
    assert_int_equal(take(&s, 9), 0);
    assert_int_equal(take(&s, 5), 0);
    sequence_resumed(&s);
    assert_out("1 ");
    assert_int_equal(take(&s, 6), 0);
    sequence_resumed(&s);
    assert_out("5 6 9 ");
    assert_int_equal(take(&s, 5), 0);
    assert_int_equal(take(&s, 9), 0);
    assert_out("");
    sequence_clear(&s);
}

static void an_unknown_number_is_learnt_from_the_first(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit, .last_id = 50, .seq_unknown = true};
    sequence_resume(&s);
    assert_int_equal(take(&s, 5), 0); /* repeated */
    assert_int_equal(take(&s, 8), 0);
    assert_int_equal(take(&s, 7), 0);
    sequence_resumed(&s);
    assert_out("7 8 ");
    sequence_lost(&s);
    sequence_resume(&s);
    assert_int_equal(take(&s, 10), 0);
    sequence_lost(&s); /* what was held comes again */
    assert_int_equal(take(&s, 9), 0);
    assert_int_equal(take(&s, 10), 0);
    assert_out("9 10 ");
    sequence_clear(&s);
}

static void what_is_held_is_bounded(void **state)
{
    (void)state;
    struct sequence s = {.emit = emit};
    sequence_resume(&s);
    for (uint64_t n = 2; n < SEQUENCE_HELD_MAX + 2; n++)
        assert_int_equal(take(&s, n), 0);
    assert_out("");
    assert_int_equal(take(&s, SEQUENCE_HELD_MAX + 2), 0); /* one more: then the first can wait no longer */
    assert_true(out.len > 0 && s.held_count <= SEQUENCE_HELD_MAX && s.last_seq == SEQUENCE_HELD_MAX + 2);
    text_clear(&out);
    sequence_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(live_ones_that_overtake_the_catch_up_wait),
        cmocka_unit_test(a_gap_in_live_ones_asks_again),
        cmocka_unit_test(a_real_gap_goes_on_when_the_server_has_sent_all),
        cmocka_unit_test(an_unknown_number_is_learnt_from_the_first),
        cmocka_unit_test(what_is_held_is_bounded),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    text_free(&out);
    return failed;
}

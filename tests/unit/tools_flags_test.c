/* What a command takes, and what it shows. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <stdio.h>

#include "tools/commands/flags.h"
#include "tools/commands/print.h"

static const char *name;
static uint64_t limit;
static bool loud;
static struct flag_list members;

static enum flags_result read_flags(char **argv, char ***words, size_t *count)
{
    static const struct flag flags[] = {
        {"name", FLAG_TEXT, &name, "TEXT", "help"},
        {"limit", FLAG_NUMBER, &limit, "N", "help"},
        {"loud", FLAG_SWITCH, &loud, NULL, "help"},
        {"member", FLAG_LIST, &members, "USER", "help"},
    };
    static const struct command_form form = {
        .usage = "x", .about = "y\n", .flags = flags, .flag_count = 4, .words_min = 1, .words_max = 2};
    int argc = 0;
    while (argv[argc])
        argc++;
    return flags_read(&form, argc, argv, words, count);
}

#define READ(...) read_flags((char *[]){(char[]){"x"}, __VA_ARGS__, NULL}, &words, &count)
#define W(text) ((char[]){text})

static void flags_and_words_may_mix(void **state)
{
    (void)state;
    char **words = NULL;
    size_t count = 0;
    char *argv[] = {W("x"),        W("one"), W("--name=a=b"),   W("--limit"), W("7"),     W("--loud"),
                    W("--member"), W("ann"), W("--member=bob"), W("--"),      W("--two"), NULL};
    assert_int_equal(read_flags(argv, &words, &count), FLAGS_RUN);
    assert_int_equal(count, 2);
    assert_string_equal(words[0], "one");
    assert_string_equal(words[1], "--two");
    assert_string_equal(name, "a=b");
    assert_true(limit == 7 && loud && members.count == 2);
    assert_string_equal(members.items[1], "bob");
    assert_int_equal(READ(W("-")), FLAGS_RUN);
    assert_string_equal(words[0], "-");
}

static void mistakes_are_refused(void **state)
{
    (void)state;
    char **words;
    size_t count;
    assert_int_equal(READ(W("one"), W("--nmae"), W("v")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("--limit"), W("-1")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("--limit"), W("1x")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("--limit="), W("x")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("--limit"), W("99999999999999999999")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("--name")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("--loud=yes")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("-x")), FLAGS_BAD);
    assert_int_equal(READ(W("--loud")), FLAGS_BAD);
    assert_int_equal(READ(W("one"), W("two"), W("three")), FLAGS_BAD);
}

static void a_terminal_obeys_nobody(void **state)
{
    (void)state;
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    print_text(f,
               span_of_words("a\x1b[31m\tb\nc\xc2\x9b"
                             "d\x7f \xc3\xa4"),
               2);
    fclose(f);
    assert_string_equal(text, "a\\x1b[31m\tb\n  c\\x9bd\\x7f \xc3\xa4");
    free(text);
}

static void columns_are_aligned_by_characters(void **state)
{
    (void)state;
    struct table table = {.column_count = 3};
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    static const char *const cells[] = {"user", "role", "x", "\xc3\xa4\xc3\xb6", "member", "1",
                                        "a\nb", NULL,   "2"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(cells); i++)
        table_put(&table, cells[i]);
    table_print(&table, f);
    fclose(f);
    assert_string_equal(text, "user    role    x\n\xc3\xa4\xc3\xb6      member  1\na\\x0ab          2\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_words_may_mix),
        cmocka_unit_test(mistakes_are_refused),
        cmocka_unit_test(a_terminal_obeys_nobody),
        cmocka_unit_test(columns_are_aligned_by_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

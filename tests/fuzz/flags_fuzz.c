/* tools/commands/flags.h: a command line, a word to each line feed. What is read as a value stood there; nothing is lost. */
#include <stdio.h>

#include "tests/fuzz/fuzz.h"
#include "tools/commands/flags.h"

enum { WORDS_MAX = 24 };

struct values {
    const char *text;
    uint64_t number;
    bool on;
    struct flag_list list;
};

static void check(const struct values *v, char **words, size_t count, size_t given)
{
    parley_assert(count <= given && v->list.count <= given);
    for (size_t i = 0; i < count; i++)
        parley_assert(words[i] && strlen(words[i]) < SIZE_MAX); /* the sanitizer reads each to its end */
    for (size_t i = 0; i < v->list.count; i++)
        parley_assert(strlen(v->list.items[i]) < SIZE_MAX);
    parley_assert(!v->text || strlen(v->text) < SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct values v = {.number = 7};
    const struct flag flags[] = {{"text", FLAG_TEXT, &v.text, "TEXT", "A text."},
                                 {"number", FLAG_NUMBER, &v.number, "N", "A number."},
                                 {"on", FLAG_SWITCH, &v.on, NULL, "On."},
                                 {"list", FLAG_LIST, &v.list, "ITEM", "Again."}};
    const struct command_form form = {.usage = "parley x",
                                      .about = "Tests.\n",
                                      .flags = flags,
                                      .flag_count = PARLEY_ARRAY_COUNT(flags),
                                      .words_max = WORDS_MAX / 2};
    char name[] = "x", *given[WORDS_MAX], *argv[WORDS_MAX + 2] = {name}, **words;
    size_t given_count = 0, count = 0;
    for (; given_count < WORDS_MAX && r.at < r.end; given_count++)
        argv[given_count + 1] = given[given_count] = fuzz_words(fuzz_until(&r, '\n'));
    enum flags_result result = flags_read(&form, (int)given_count + 1, argv, &words, &count);
    if (result == FLAGS_RUN) {
        parley_assert(count <= form.words_max);
        check(&v, words, count, given_count);
    }
    while (given_count)
        free(given[--given_count]);
    return 0;
}

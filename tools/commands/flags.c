#include "tools/commands/flags.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HELP_COLUMN = 26 };

static void print_flags(const char *heading, const struct flag *flags, size_t count)
{
    if (count)
        printf("\n%s\n", heading);
    for (size_t i = 0; i < count; i++) {
        int n = printf("  --%s%s%s", flags[i].name, flags[i].argument ? " " : "",
                       flags[i].argument ? flags[i].argument : "");
        if (n >= HELP_COLUMN)
            n = printf("\n") - 1;
        printf("%*s", HELP_COLUMN - n, "");
        for (const char *c = flags[i].help; *c; c++) {
            putchar(*c);
            if (*c == '\n')
                printf("%*s", HELP_COLUMN, "");
        }
        putchar('\n');
    }
}

static void print_help(const struct command_form *form)
{
    printf("usage: %s\n\n%s", form->usage, form->about);
    print_flags("Options:", form->flags, form->flag_count);
    print_flags("Server and token:", form->common, form->common_count);
}

static const struct flag *find(const struct flag *flags, size_t count, const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(flags[i].name) == len && memcmp(flags[i].name, name, len) == 0)
            return &flags[i];
    return NULL;
}

static bool bad(const struct command_form *form, const char *what, const char *name)
{
    fprintf(stderr, "parley: %s %s\nusage: %s\n", what, name, form->usage);
    return false;
}

static bool set(const struct command_form *form, const struct flag *flag, const char *value)
{
    char *end;
    struct flag_list *list = flag->to;
    switch (flag->kind) {
    case FLAG_TEXT:
        *(const char **)flag->to = value;
        return true;
    case FLAG_SWITCH:
        *(bool *)flag->to = true;
        return true;
    case FLAG_LIST:
        if (list->count == FLAGS_LIST_MAX)
            return bad(form, "too many of", flag->name);
        list->items[list->count++] = value;
        return true;
    case FLAG_NUMBER:
        errno = 0;
        *(uint64_t *)flag->to = strtoull(value, &end, 10);
        if (errno || end == value || *end || *value < '0' || *value > '9')
            return bad(form, "not a number:", value);
        return true;
    }
    return false;
}

/* Takes the flag at argv[*at], and its value. */
static bool take(const struct command_form *form, int argc, char **argv, int *at)
{
    const char *name = argv[*at] + 2, *equals = strchr(name, '=');
    size_t len = equals ? (size_t)(equals - name) : strlen(name);
    const struct flag *flag = find(form->flags, form->flag_count, name, len);
    if (!flag)
        flag = find(form->common, form->common_count, name, len);
    if (!flag)
        return bad(form, "no such option:", argv[*at]);
    if (flag->kind == FLAG_SWITCH)
        return equals ? bad(form, "takes no value:", argv[*at]) : set(form, flag, NULL);
    if (equals)
        return set(form, flag, equals + 1);
    if (*at + 1 == argc)
        return bad(form, "needs a value:", argv[*at]);
    return set(form, flag, argv[++*at]);
}

enum flags_result flags_read(const struct command_form *form, int argc, char **argv, char ***words,
                             size_t *count)
{
    bool only_words = false;
    size_t n = 0;
    for (int i = 1; i < argc; i++) {
        if (!only_words && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            print_help(form);
            return FLAGS_HELP;
        }
        if (!only_words && strcmp(argv[i], "--") == 0) {
            only_words = true;
        } else if (!only_words && strncmp(argv[i], "--", 2) == 0) {
            if (!take(form, argc, argv, &i))
                return FLAGS_BAD;
        } else if (!only_words && argv[i][0] == '-' && argv[i][1]) {
            bad(form, "no such option:", argv[i]);
            return FLAGS_BAD;
        } else {
            argv[1 + n++] = argv[i];
        }
    }
    if (n < form->words_min || n > form->words_max) {
        bad(form, n < form->words_min ? "something is missing;" : "too many words;", "--help explains");
        return FLAGS_BAD;
    }
    *words = argv + 1;
    *count = n;
    return FLAGS_RUN;
}

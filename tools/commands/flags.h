/* tools/commands/flags.h: what a command takes, and its help, from one table.
 *
 * Why:    help that is written beside the parser lies after a year.
 * Shape:  table of flags + argv -> flags_read -> values, and the words that are no flags moved to the front of argv
 *         --name VALUE, --name=VALUE, --switch; "--" ends the flags; "-" is a word
 * Owner:  values point into argv.
 * Thread: start-up.
 * Errors: FLAGS_BAD after a sentence on standard error.
 */
#ifndef PARLEY_TOOLS_FLAGS_H
#define PARLEY_TOOLS_FLAGS_H

#include "src/base/base.h"

enum { FLAGS_LIST_MAX = 256 };

enum flag_kind {
    FLAG_TEXT,   /* const char * */
    FLAG_NUMBER, /* uint64_t */
    FLAG_SWITCH, /* bool */
    FLAG_LIST,   /* struct flag_list: may be given again and again */
};

struct flag_list {
    const char *items[FLAGS_LIST_MAX];
    size_t count;
};

struct flag {
    const char *name; /* without the two dashes */
    enum flag_kind kind;
    void *to;
    const char *argument; /* its name in the help; NULL for a switch */
    const char *help;
};

struct command_form {
    const char *usage; /* "parley send [options] CONVERSATION [TEXT]" */
    const char *about; /* paragraphs; each line ends with a line feed */
    const struct flag *flags;
    size_t flag_count;
    const struct flag *common; /* shown under a heading of their own */
    size_t common_count;
    size_t words_min, words_max;
};

enum flags_result { FLAGS_RUN, FLAGS_HELP, FLAGS_BAD };

/* argv[0] is the command's name. On FLAGS_RUN *words are at argv[1 .. *count]. On FLAGS_HELP the help was printed. */
PARLEY_MUST_USE enum flags_result flags_read(const struct command_form *form, int argc, char **argv,
                                             char ***words, size_t *count);

#endif

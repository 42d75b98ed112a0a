#include <stdio.h>
#include <stdlib.h>

#include "src/base/error.h"
#include "tools/commands/commands.h"
#include "tools/commands/message_print.h"
#include "tools/commands/messages.h"
#include "tools/commands/session.h"

static const char about[] = "Prints messages in the order of the conversation: the newest --limit ones, or "
                            "those before or after a message.\n"
                            "--all prints all of them (with --after: all that follow). With --json each line "
                            "is a message as the API has it.\n"
                            "\n"
                            "  parley history 0123456789abcdef0123456789abcdef --limit 200\n";

struct history_options {
    uint64_t limit;
    const char *before, *after;
    bool all;
};

static int print_page(void *owner, const json_t *messages)
{
    const struct session *s = owner;
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m)
    {
        message_print(m, s->json);
    }
    return ferror(stdout) ? -PARLEY_ERR_IO : 0;
}

/* The newest `limit` before `before`: pages come from new to old and are printed from old to new. */
static int print_newest(struct session *s, const char *conversation, const char *before, uint64_t limit)
{
    json_t *pages = json_array(), *page;
    int err = pages ? messages_before(s, conversation, before, limit, pages) : -PARLEY_ERR_NOMEM;
    for (size_t i = err ? 0 : json_array_size(pages); i > 0; i--) {
        page = json_array_get(pages, i - 1);
        err = print_page(s, page);
        if (err)
            break;
    }
    json_decref(pages);
    return err;
}

int command_history(int argc, char **argv)
{
    struct session s = {0};
    struct history_options o = {.limit = 50};
    const struct flag flags[] = {
        {"limit", FLAG_NUMBER, &o.limit, "N", "at most so many (50)"},
        {"before", FLAG_TEXT, &o.before, "ID", "messages before this message"},
        {"after", FLAG_TEXT, &o.after, "ID", "messages after this message; 0: from the first"},
        {"all", FLAG_SWITCH, &o.all, NULL, "no limit"},
    };
    struct command_form form = {.usage = "parley history [options] CONVERSATION",
                                .about = about,
                                .flags = flags,
                                .flag_count = PARLEY_ARRAY_COUNT(flags),
                                .words_min = 1,
                                .words_max = 1};
    char **words;
    size_t count;
    int status = session_flags(&s, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    if (o.limit == 0 || (o.before && (o.after || o.all))) {
        fprintf(stderr, "parley: %s\n",
                o.limit ? "--before goes with neither --after nor --all" : "--limit is at least 1");
        return EXIT_USAGE;
    }
    status = session_begin(&s);
    if (status != EXIT_SUCCESS)
        return status;
    int err;
    if (o.after || o.all)
        err = messages_after(&s, words[0], o.after ? o.after : "0", o.all ? UINT64_MAX : o.limit, print_page,
                             &s);
    else
        err = print_newest(&s, words[0], o.before, o.limit);
    session_end(&s);
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

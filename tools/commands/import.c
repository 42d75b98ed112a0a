#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/error.h"
#include "tools/commands/commands.h"
#include "tools/commands/import_send.h"
#include "tools/commands/import_setup.h"

enum { WINDOW = 512, AHEAD_MIB = 64, AHEAD_MIB_MAX = 65536, RETRY_FOR_S = 60 };

static const char about[] =
    "Brings conversations in, as the people who wrote them. FILE has a JSON object a line, plain or gzip; - "
    "is standard\n"
    "input (kept in a temporary file, because it is read twice):\n"
    "\n"
    "  {\"conversation\":\"tea\",\"time\":\"2004-11-15T12:18:00Z\",\"sender\":\"ann\",\"text\":\"hello\"}\n"
    "\n"
    "Each name of a conversation becomes a channel with that title, owned by the token's user; who writes in "
    "it becomes a\n"
    "member; each line becomes a message of its sender, with `time` as its created_at. The token needs the "
    "scope service:\n"
    "--token, or --data DIR, which mints one for the user --as (importer).\n"
    "\n"
    "The order of lines within a conversation is kept, whatever happens: one message of a conversation is "
    "under way at a\n"
    "time, and many conversations are. Importing the same file again changes nothing, as long as the server "
    "remembers\n"
    "(dedup.horizon, dedup.messages_max): so after any failure, run the same command again. Lost connections "
    "and restarts\n"
    "of the server are waited for. A server that is busy is given time.\n"
    "\n"
    "Empty texts are passed over and counted, since a message has a text. Bad lines are told with their "
    "number and passed\n"
    "over. Ends with 1 when a line other than an empty one was not imported.\n";

struct command {
    struct session session;
    struct import_options options;
    struct plan_source source;
    struct import_plan plan;
    struct import_state state;
    struct import_counts counts;
    uint64_t ahead_mib;
    bool quiet, dry_run;
};

/* Standard input can be read once; its copy twice. */
static int copy_input(void)
{
    static char bytes[256 * 1024];
    FILE *file = tmpfile();
    int fd = file ? dup(fileno(file)) : -1;
    ssize_t n = fd < 0 ? -1 : 1;
    while (n > 0 && !session_stopped()) {
        n = read(STDIN_FILENO, bytes, sizeof bytes);
        for (ssize_t at = 0; at < n;) {
            ssize_t wrote = write(fd, bytes + at, (size_t)(n - at));
            if (wrote < 0) {
                n = -1;
                break;
            }
            at += wrote;
        }
    }
    if (file)
        fclose(file);
    if (n < 0 && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static int open_source(struct command *c, const char *name)
{
    struct stat st;
    bool input = strcmp(name, "-") == 0;
    c->source.name = input ? "standard input" : name;
    c->source.fd = input ? copy_input() : open(name, O_RDONLY | O_CLOEXEC);
    if (c->source.fd < 0 || fstat(c->source.fd, &st) != 0 ||
        import_state_identify(c->source.fd, &c->state) != 0) {
        fprintf(stderr, "parley: ");
        perror(c->source.name);
        return -PARLEY_ERR_IO;
    }
    c->source.bytes = (uint64_t)st.st_size;
    c->source.stopped = session_stopped;
    return 0;
}

static void put_count(struct text *t, const char *name, uint64_t n)
{
    text_put_words(t, ",\"");
    text_put_words(t, name);
    text_put_words(t, "\":");
    text_put_number(t, n);
}

static void summarize_json(const struct command *c, uint64_t ms, bool complete)
{
    const struct import_counts *n = &c->counts;
    struct text t = {0};
    text_put_words(&t, complete ? "{\"complete\":true" : "{\"complete\":false");
    put_count(&t, "lines", c->plan.lines);
    put_count(&t, "messages", n->sent);
    put_count(&t, "duplicates", n->duplicates);
    put_count(&t, "skipped", n->skipped);
    put_count(&t, "empty", c->plan.empty);
    put_count(&t, "bad_lines", c->plan.bad);
    put_count(&t, "refused", n->refused);
    put_count(&t, "out_of_order", n->out_of_order);
    put_count(&t, "retried", n->retried);
    put_count(&t, "reconnects", n->reconnects);
    put_count(&t, "conversations", c->plan.conversations.count);
    put_count(&t, "people", c->plan.people.count);
    put_count(&t, "milliseconds", ms);
    put_count(&t, "messages_per_second", ms ? n->sent * 1000 / ms : 0);
    text_put_words(&t, ",\"conversation_ids\":{");
    for (uint32_t i = 0; i < c->plan.conversations.count; i++) {
        text_put_words(&t, i ? "," : "");
        text_put_json(&t, c->plan.conversations.list[i]);
        text_put_words(&t, ":\"");
        text_put_words(&t, c->plan.list[i].id);
        text_put_words(&t, "\"");
    }
    text_put_words(&t, "}}");
    puts(text_words(&t));
    text_free(&t);
}

static void summarize(const struct command *c, uint64_t ms, bool complete)
{
    const struct import_counts *n = &c->counts;
    const char *word = !complete ? "stopped after" : c->dry_run ? "checked" : "imported";
    double seconds = (double)ms / 1000.0;
    printf("%s %llu messages (%llu were there), %u conversations, %u people in %.1f s: %.0f/s\n", word,
           (unsigned long long)(c->dry_run ? c->plan.good : n->sent), (unsigned long long)n->duplicates,
           c->plan.conversations.count, c->plan.people.count, seconds, ms ? (double)n->sent / seconds : 0);
    if (n->skipped)
        printf("  %llu lines were done before, says %s\n", (unsigned long long)n->skipped,
               c->options.state_path);
    if (c->plan.empty || c->plan.bad || n->refused)
        printf("  not imported: %llu empty texts, %llu bad lines, %llu refused\n",
               (unsigned long long)c->plan.empty, (unsigned long long)c->plan.bad,
               (unsigned long long)n->refused);
    if (n->retried || n->reconnects)
        printf("  the server was too busy for %llu messages at first, and lost %llu times\n",
               (unsigned long long)n->retried, (unsigned long long)n->reconnects);
    if (n->out_of_order)
        printf("  OUT OF ORDER: %llu messages came before one that the server had refused first\n",
               (unsigned long long)n->out_of_order);
}

static int run(struct command *c)
{
    struct progress progress;
    progress_begin(&progress, "lines read", c->quiet);
    int err = import_plan_read(&c->plan, &c->source, &progress);
    uint64_t ms = progress_end(&progress);
    if (!err && !c->dry_run && !session_stopped()) {
        progress_begin(&progress, "conversations and members", c->quiet);
        err = import_setup(&c->session, &c->plan, &progress);
        ms += progress_end(&progress);
    }
    if (!err && !c->dry_run && !session_stopped()) {
        progress_begin(&progress, "messages", c->quiet);
        err = import_send(&c->session, &c->plan, &c->source, &c->options, &c->state, &progress, &c->counts);
        ms += progress_end(&progress);
    }
    bool complete = !err && !session_stopped();
    if (c->session.json)
        summarize_json(c, ms, complete);
    else if (!c->quiet)
        summarize(c, ms, complete);
    return !complete || c->plan.bad || c->counts.refused ? EXIT_FAILURE : EXIT_SUCCESS;
}

static bool options_valid(struct command *c)
{
    const struct import_options *o = &c->options;
    if (o->window < 1 || o->window > IMPORT_WINDOW_MAX || o->each_max < 1 || o->each_max > o->window ||
        c->ahead_mib < 1 || c->ahead_mib > AHEAD_MIB_MAX) {
        fprintf(stderr,
                "parley: --window is 1 to %d, --per-conversation 1 to the window, --read-ahead 1 to %d\n",
                IMPORT_WINDOW_MAX, AHEAD_MIB_MAX);
        return false;
    }
    c->options.ahead_bytes_max = c->ahead_mib << 20;
    return true;
}

int command_import(int argc, char **argv)
{
    struct command c = {.session = {.retry_for_s = RETRY_FOR_S, .service = true},
                        .options = {.window = WINDOW, .each_max = 1},
                        .ahead_mib = AHEAD_MIB};
    const struct flag flags[] = {
        {"state", FLAG_TEXT, &c.options.state_path, "FILE",
         "remember there how far it got, and begin there (none)"},
        {"strict", FLAG_SWITCH, &c.source.strict, NULL, "stop at the first bad or refused line"},
        {"dry-run", FLAG_SWITCH, &c.dry_run, NULL, "only read the file and tell what is in it"},
        {"quiet", FLAG_SWITCH, &c.quiet, NULL, "no progress, no summary"},
        {"window", FLAG_NUMBER, &c.options.window, "N", "messages under way (512)"},
        {"per-conversation", FLAG_NUMBER, &c.options.each_max, "N",
         "of them, in one conversation (1). More is faster when the\nfile has few conversations, but keeps "
         "their order "
         "only\nwhile the server never refuses for being busy"},
        {"read-ahead", FLAG_NUMBER, &c.ahead_mib, "MIB", "how much of the file to keep in memory (64)"},
    };
    struct command_form form = {.usage = "parley import [options] FILE",
                                .about = about,
                                .flags = flags,
                                .flag_count = PARLEY_ARRAY_COUNT(flags),
                                .words_min = 1,
                                .words_max = 1};
    char **words;
    size_t count;
    int status = session_flags(&c.session, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    if (!options_valid(&c))
        return EXIT_USAGE;
    if (c.session.data && !c.session.as)
        c.session.as = "importer";
    status = c.dry_run ? EXIT_SUCCESS : session_begin(&c.session);
    if (status != EXIT_SUCCESS)
        return status;
    session_catch_signals();
    c.source.fd = -1;
    status = open_source(&c, words[0]) == 0 ? run(&c) : EXIT_FAILURE;
    import_plan_clear(&c.plan);
    if (c.source.fd >= 0)
        close(c.source.fd);
    session_end(&c.session);
    return status;
}

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "tools/commands/commands.h"
#include "tools/commands/message_print.h"
#include "tools/commands/messages.h"
#include "tools/commands/names.h"
#include "tools/commands/progress.h"

enum { RETRY_FOR_S = 60, LIST_LIMIT = 100, FRACTION_BYTES = 5 };

static const char about[] =
    "Writes conversations out, a JSON object a line, in the form that `parley import` takes:\n"
    "\n"
    "  {\"conversation\":\"tea\",\"time\":\"2004-11-15T12:18:00Z\",\"sender\":\"ann\",\"text\":\"hello\"}\n"
    "\n"
    "`conversation` is the title; the id when it has none, when two of those exported have the same, or with "
    "--ids. `time` is\n"
    "created_at when the message has one, else when the server took it. Conversations come one after the "
    "other, each in its\n"
    "order. With --output the file has its name only when it is complete.\n"
    "\n"
    "  parley export --all --gzip --output everything.jsonl.gz\n";

struct source { /* one conversation */
    char id[33];
    uint32_t title; /* in names; UINT32_MAX: none */
    uint64_t messages;
};

struct export
{
    struct session session;
    const char *output;
    bool all, ids, gzip, quiet;
    struct source *list;
    size_t count, room;
    struct names titles;
    uint32_t *title_uses;
    FILE *file;
    gzFile zipped;
    struct text line, name;
    struct progress progress;
    uint64_t messages, expected;
    size_t at;
};

/* -- which ones */

static int add_source(struct export *x, const char *id, const json_t *about_it)
{
    struct span title = json_span(about_it, "title");
    if (x->count == x->room) {
        size_t room = x->room ? x->room * 2 : 64;
        struct source *list = memory_realloc(x->list, room * sizeof *list);
        if (!list)
            return -PARLEY_ERR_NOMEM;
        x->list = list;
        x->room = room;
    }
    struct source *s = &x->list[x->count];
    json_int_t last = json_integer_value(json_object_get(about_it, "last_seq"));
    *s = (struct source){.title = UINT32_MAX, .messages = last > 0 ? (uint64_t)last : 0};
    snprintf(s->id, sizeof s->id, "%s", id);
    int err = title.len ? names_add(&x->titles, title, &s->title, NULL) : 0;
    if (err)
        return err;
    x->count++;
    x->expected += s->messages;
    return 0;
}

/* One named by the user. A server or a user that cannot show it may still have its messages: history will tell. */
static int add_named(struct export *x, const char *id)
{
    struct text path = {0};
    struct refusal refusal = {0};
    json_t *root = NULL;
    int err = session_path(&path, id, "");
    if (!err)
        err = session_ask(&x->session, "GET", &path, (struct span){0}, &root, &refusal);
    if (err == -PARLEY_ERR_FORBIDDEN && refusal_is(&refusal, "not_found"))
        err = 0;
    else if (err == -PARLEY_ERR_FORBIDDEN)
        session_tell_refusal(&refusal);
    if (!err)
        err = add_source(x, id, root);
    json_decref(root);
    text_free(&path);
    return err;
}

static int add_all(struct export *x)
{
    struct text path = {0};
    bool more = true;
    int err = 0;
    while (more && !err) {
        json_t *root = NULL, *entry;
        size_t i;
        text_clear(&path);
        text_put_words(&path, "/v1/conversations?limit=");
        text_put_number(&path, LIST_LIMIT);
        if (x->count) {
            text_put_words(&path, "&after=");
            text_put_words(&path, x->list[x->count - 1].id);
        }
        err = session_ask(&x->session, "GET", &path, (struct span){0}, &root, NULL);
        json_t *entries = json_object_get(root, "conversations");
        json_array_foreach(entries, i, entry)
        {
            if (!err)
                err = add_source(x, json_words(entry, "id"), entry);
        }
        more = json_array_size(entries) && json_is_true(json_object_get(root, "more"));
        json_decref(root);
    }
    text_free(&path);
    return err;
}

static int count_titles(struct export *x)
{
    x->title_uses = memory_zalloc((x->titles.count + 1ull) * sizeof *x->title_uses);
    if (!x->title_uses)
        return -PARLEY_ERR_NOMEM;
    for (size_t i = 0; i < x->count; i++)
        if (x->list[i].title != UINT32_MAX)
            x->title_uses[x->list[i].title]++;
    return 0;
}

/* -- writing */

static int open_output(struct export *x)
{
    text_clear(&x->name);
    text_put_words(&x->name, x->output ? x->output : "");
    text_put_words(&x->name, ".part");
    const char *name = text_words(&x->name);
    int fd = x->output ? open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666) : dup(STDOUT_FILENO);
    if (fd >= 0 && x->gzip)
        x->zipped = gzdopen(fd, "wb");
    else if (fd >= 0)
        x->file = fdopen(fd, "w");
    if (x->zipped || x->file)
        return 0;
    if (fd >= 0)
        close(fd);
    fprintf(stderr, "parley: ");
    perror(x->output ? name : "standard output");
    return -PARLEY_ERR_IO;
}

static int close_output(struct export *x, int err)
{
    bool good = true;
    if (x->zipped)
        good = gzclose_w(x->zipped) == Z_OK;
    if (x->file)
        good = fclose(x->file) == 0;
    x->zipped = NULL;
    x->file = NULL;
    if (!err && good && x->output)
        good = rename(text_words(&x->name), x->output) == 0;
    if (!good && !err)
        fprintf(stderr, "parley: writing failed: %s\n", strerror(errno));
    return err ? err : good ? 0 : -PARLEY_ERR_IO;
}

static int put_line(struct export *x)
{
    size_t len = x->line.len;
    bool good = !x->line.failed && (x->zipped ? gzwrite(x->zipped, x->line.data, (unsigned)len) == (int)len
                                              : fwrite(x->line.data, 1, len, x->file) == len);
    if (!good)
        fprintf(stderr, "parley: writing failed: %s\n", strerror(errno));
    return good ? 0 : -PARLEY_ERR_IO;
}

static struct span time_of(const json_t *message)
{
    return json_span(message, json_object_get(message, "created_at") ? "created_at" : "time");
}

/* As it was written once: without milliseconds that are zero. */
static void put_time(struct text *t, struct span time)
{
    static const char zero[] = ".000Z";
    bool whole =
        time.len > FRACTION_BYTES && memcmp(time.data + time.len - FRACTION_BYTES, zero, FRACTION_BYTES) == 0;
    text_put_words(t, "\"");
    text_put(t, time.data, whole ? time.len - FRACTION_BYTES : time.len);
    text_put_words(t, whole ? "Z\"" : "\"");
}

static int put_page(void *owner, const json_t *messages)
{
    struct export *x = owner;
    const struct source *s = &x->list[x->at];
    bool by_title = s->title != UINT32_MAX && !x->ids && x->title_uses[s->title] == 1;
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m)
    {
        text_clear(&x->line);
        text_put_words(&x->line, "{\"conversation\":");
        text_put_json(&x->line, by_title ? x->titles.list[s->title] : span_of_words(s->id));
        text_put_words(&x->line, ",\"time\":");
        put_time(&x->line, time_of(m));
        text_put_words(&x->line, ",\"sender\":");
        text_put_json(&x->line, json_span(m, "sender"));
        text_put_words(&x->line, ",\"text\":");
        text_put_json(&x->line, json_span(m, "body"));
        text_put_words(&x->line, "}\n");
        int err = put_line(x);
        if (err)
            return err;
        x->messages++;
    }
    progress_show(&x->progress, x->messages, x->messages, x->expected);
    return session_stopped() ? -PARLEY_ERR_END : 0;
}

static int run(struct export *x, char **words, size_t count)
{
    int err = x->all ? add_all(x) : 0;
    for (size_t i = 0; i < count && !err; i++)
        err = add_named(x, words[i]);
    if (!err)
        err = count_titles(x);
    if (!err)
        err = open_output(x);
    if (err)
        return err;
    progress_begin(&x->progress, "messages", x->quiet);
    for (x->at = 0; x->at < x->count && !err; x->at++)
        err = messages_after(&x->session, x->list[x->at].id, "0", UINT64_MAX, put_page, x);
    uint64_t ms = progress_end(&x->progress);
    err = close_output(x, err);
    if (x->session.json)
        fprintf(x->output ? stdout : stderr,
                "{\"complete\":%s,\"messages\":%llu,\"conversations\":%zu,\"seconds\":%.3f}\n",
                err ? "false" : "true", (unsigned long long)x->messages, x->count, (double)ms / 1000.0);
    else if (!x->quiet)
        fprintf(stderr, "%s %llu messages of %zu conversations in %.1f s\n",
                err ? "stopped after" : "exported", (unsigned long long)x->messages, x->count,
                (double)ms / 1000.0);
    return err;
}

int command_export(int argc, char **argv)
{
    struct export x = {.session = {.retry_for_s = RETRY_FOR_S}};
    const struct flag flags[] = {
        {"all", FLAG_SWITCH, &x.all, NULL, "all conversations that the token's user is a member of"},
        {"ids", FLAG_SWITCH, &x.ids, NULL, "name conversations by id, not by title"},
        {"output", FLAG_TEXT, &x.output, "FILE", "(standard output)"},
        {"gzip", FLAG_SWITCH, &x.gzip, NULL, "compress"},
        {"quiet", FLAG_SWITCH, &x.quiet, NULL, "no progress, no summary"},
    };
    struct command_form form = {.usage = "parley export [options] --all | CONVERSATION ...",
                                .about = about,
                                .flags = flags,
                                .flag_count = PARLEY_ARRAY_COUNT(flags),
                                .words_min = 0,
                                .words_max = SIZE_MAX};
    char **words;
    size_t count;
    int status = session_flags(&x.session, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    if (x.all == (count > 0)) {
        fprintf(stderr, "parley: which conversations? Name some, or give --all\nusage: %s\n", form.usage);
        return EXIT_USAGE;
    }
    status = session_begin(&x.session);
    if (status != EXIT_SUCCESS)
        return status;
    session_catch_signals();
    int err = run(&x, words, count);
    memory_free(x.list);
    memory_free(x.title_uses);
    names_clear(&x.titles);
    text_free(&x.line);
    text_free(&x.name);
    session_end(&x.session);
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

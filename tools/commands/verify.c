#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/verify/verify.h"
#include "tools/commands/commands.h"
#include "tools/commands/print.h"
#include "tools/commands/progress.h"
#include "tools/commands/session.h"
#include "tools/commands/verify_online.h"

enum { SHOWN_MAX = 20, FOUND_STATUS = 1, FAILED_STATUS = 2 };

static const char about[] =
    "Checks that what was acknowledged is there, once and in order.\n"
    "\n"
    "With a data folder, of a server that is stopped: every block of the logs, every row of the stores, and "
    "that they\n"
    "agree. Nothing is written without --repair. What is found is damage (acknowledged data is lost or "
    "unreadable),\n"
    "derived (it can be made again) or a note. Behind -> stands what can be done, in this very folder.\n"
    "\n"
    "--repair makes again what is derived. Where a log is damaged, it keeps what is good, puts the old "
    "segments "
    "aside\n"
    "as *.damaged, begins a new log, and says which events are lost. Nothing is ever overwritten that was "
    "put "
    "aside.\n"
    "Stopped half-way, it is run again.\n"
    "\n"
    "With --url, of a server that runs, with a service's token: that the pages of a conversation agree from "
    "both ends,\n"
    "numbers have no gap, ids rise, each message is found by its ids, and members have it in their lists.\n"
    "\n"
    "Ends with 0: clean; 1: something was found; 2: it could not be looked at.\n"
    "\n"
    "  parley verify /var/lib/parley\n"
    "  parley verify --url http://127.0.0.1:8080 --data /var/lib/parley --user ann\n";

struct printing {
    bool json;
    uint64_t shown[VERIFY_KIND_COUNT];
    struct progress progress;
};

static void print_json_finding(const struct verify_finding *f)
{
    json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:s}", "finding", verify_kind_name(f->kind), "severity",
                             verify_severity_name(verify_kind_severity(f->kind)), "where", f->where, "what",
                             f->what, "remedy", f->remedy);
    if (line && f->shard != VERIFY_NO_SHARD)
        json_object_set_new(line, "shard", json_integer(f->shard));
    session_print_json(line);
    json_decref(line);
}

static void on_finding(void *owner, const struct verify_finding *f)
{
    struct printing *p = owner;
    progress_clear(&p->progress);
    if (p->json) {
        print_json_finding(f);
        return;
    }
    uint64_t nth = ++p->shown[f->kind];
    if (nth <= SHOWN_MAX) {
        printf("%s: %s: ", verify_severity_name(verify_kind_severity(f->kind)), verify_kind_name(f->kind));
        print_text(stdout, span_of_words(f->where), 4);
        fputs("\n    ", stdout);
        print_text(stdout, span_of_words(f->what), 4);
        fputs("\n", stdout);
    }
    if (nth == 1)
        printf("    -> %s\n", f->remedy);
    if (nth == SHOWN_MAX)
        printf("    (more of these are counted only; --json prints all)\n");
}

static void on_loss(void *owner, const struct verify_loss *l)
{
    struct printing *p = owner;
    char ids[80] = "";
    progress_clear(&p->progress);
    if (p->json) {
        json_t *line =
            json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s}", "loss", l->done ? "lost" : "would_be_lost",
                      "shard", (json_int_t)l->shard, "first", (json_int_t)l->first, "last",
                      (json_int_t)l->last, "events_at_most", (json_int_t)l->events, "id_first",
                      (json_int_t)l->id_first, "id_last", (json_int_t)l->id_last, "why", l->why);
        session_print_json(line);
        json_decref(line);
        return;
    }
    if (l->id_first)
        snprintf(ids, sizeof ids, ", ids %llu to %llu", (unsigned long long)l->id_first,
                 (unsigned long long)l->id_last);
    else if (l->id_last)
        snprintf(ids, sizeof ids, ", ids up to %llu", (unsigned long long)l->id_last);
    printf("%s: shard %u: positions %llu to %llu, at most %llu events%s\n    %s\n",
           l->done ? "lost" : "--repair would give up", l->shard, (unsigned long long)l->first,
           (unsigned long long)l->last, (unsigned long long)l->events, ids, l->why);
}

static void on_mended(void *owner, const char *what)
{
    struct printing *p = owner;
    progress_clear(&p->progress);
    if (!p->json) {
        printf("repaired: %s\n", what);
        return;
    }
    json_t *line = json_pack("{s:s}", "repaired", what);
    session_print_json(line);
    json_decref(line);
}

static void on_again(void *owner)
{
    struct printing *p = owner;
    progress_clear(&p->progress);
    memset(p->shown, 0, sizeof p->shown);
    puts(p->json ? "{\"looking\":\"again\"}" : "-- looking at all of it again");
}

static void on_progress(void *owner, uint64_t looked_at)
{
    struct printing *p = owner;
    progress_show(&p->progress, looked_at, 0, 0);
}

static void print_summary(const struct verify_summary *summary, const struct verify_report *report)
{
    static const char *const heading[] = {"shard",    "log from", "log end", "conversations",
                                          "messages", "members",  "lists",   "users"};
    struct table table = {.column_count = PARLEY_ARRAY_COUNT(heading)};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(heading); i++)
        table_put(&table, heading[i]);
    for (uint32_t i = 0; i < summary->shard_count; i++) {
        const struct verify_counts *c = &summary->shards[i];
        const uint64_t cells[] = {i,           c->log_start, c->log_end,     c->conversations,
                                  c->messages, c->members,   c->memberships, c->users};
        for (size_t k = 0; k < PARLEY_ARRAY_COUNT(cells); k++)
            table_put_number(&table, cells[k]);
    }
    table_print(&table, stdout);
    for (uint32_t i = 0; i < summary->shard_count; i++)
        if (summary->shards[i].torn_bytes)
            printf(
                "shard %u: %llu bytes of a block that was never acknowledged; the next start clears them\n",
                i, (unsigned long long)summary->shards[i].torn_bytes);
    uint64_t damage = verify_report_count(report, VERIFY_DAMAGE);
    uint64_t derived = verify_report_count(report, VERIFY_DERIVED);
    uint64_t notes = verify_report_count(report, VERIFY_NOTE);
    if (!damage && !derived && !notes)
        puts("nothing is wrong");
    else
        printf("%llu damage (lost or unreadable), %llu derived (can be made again), %llu notes\n",
               (unsigned long long)damage, (unsigned long long)derived, (unsigned long long)notes);
}

static void print_json_summary(const struct verify_summary *summary, const struct verify_report *report)
{
    json_t *shards = json_array();
    for (uint32_t i = 0; i < summary->shard_count; i++) {
        const struct verify_counts *c = &summary->shards[i];
        json_array_append_new(
            shards,
            json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "shard", (json_int_t)i, "log_start",
                      (json_int_t)c->log_start, "log_end", (json_int_t)c->log_end, "torn_bytes",
                      (json_int_t)c->torn_bytes, "conversations", (json_int_t)c->conversations, "messages",
                      (json_int_t)c->messages, "members", (json_int_t)c->members, "memberships",
                      (json_int_t)c->memberships, "users", (json_int_t)c->users));
    }
    json_t *line =
        json_pack("{s:I, s:I, s:I, s:o}", "damage", (json_int_t)verify_report_count(report, VERIFY_DAMAGE),
                  "derived", (json_int_t)verify_report_count(report, VERIFY_DERIVED), "notes",
                  (json_int_t)verify_report_count(report, VERIFY_NOTE), "shards", shards);
    session_print_json(line);
    json_decref(line);
}

static bool confirmed(const char *dir)
{
    char answer[8];
    fprintf(stderr, "parley: --repair changes %s. Is there a copy of it? Type yes to go on: ", dir);
    return fgets(answer, sizeof answer, stdin) && strcmp(answer, "yes\n") == 0;
}

static int run_offline(const struct verify_options *o, bool json)
{
    struct printing p = {.json = json};
    struct verify_report report = {.owner = &p,
                                   .on_finding = on_finding,
                                   .on_loss = on_loss,
                                   .on_mended = on_mended,
                                   .on_again = on_again,
                                   .on_progress = on_progress};
    struct verify_summary summary;
    char text[VERIFY_TEXT_BYTES];
    progress_begin(&p.progress, "rows and events", !isatty(STDERR_FILENO));
    int err = verify_folder(o, &report, &summary, text);
    progress_end(&p.progress);
    if (err) {
        fprintf(stderr, "parley: %s\n", text);
        if (err == -PARLEY_ERR_FULL)
            fprintf(stderr, "parley: a server that runs is checked with --url (see parley verify --help)\n");
    } else if (json) {
        print_json_summary(&summary, &report);
    } else {
        print_summary(&summary, &report);
    }
    verify_summary_clear(&summary);
    if (err)
        return FAILED_STATUS;
    bool found = verify_report_count(&report, VERIFY_DAMAGE) ||
                 verify_report_count(&report, VERIFY_DERIVED) || verify_report_count(&report, VERIFY_NOTE);
    return found ? FOUND_STATUS : EXIT_SUCCESS;
}

int command_verify(int argc, char **argv)
{
    struct session s = {0};
    struct verify_options o = {0};
    struct verify_online online = {.session = &s, .sample = 100};
    bool yes = false;
    const struct flag flags[] = {
        {"repair", FLAG_SWITCH, &o.repair, NULL, "make again what can be; asks first"},
        {"yes", FLAG_SWITCH, &yes, NULL, "do not ask"},
        {"deep", FLAG_SWITCH, &o.deep, NULL, "also read every block of every table"},
        {"conversation", FLAG_LIST, &online.conversations, "ID", "with --url: this one; may be given again"},
        {"user", FLAG_LIST, &online.users, "USER", "with --url: all of this user's; may be given again"},
        {"sample", FLAG_NUMBER, &online.sample, "N",
         "with --url: look up so many messages and members of each\nconversation one by one (100; 0: none)"},
    };
    struct command_form form = {
        .usage = "parley verify [options] DATA_FOLDER\n       parley verify --url URL [options]",
        .about = about,
        .flags = flags,
        .flag_count = PARLEY_ARRAY_COUNT(flags),
        .words_max = 1};
    char **words;
    size_t count;
    int status = session_flags(&s, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    if (count == 0)
        return verify_online(&online);
    if (s.url_text || online.conversations.count || online.users.count) {
        fprintf(stderr, "parley: a data folder or --url, not both\n");
        return EXIT_USAGE;
    }
    o.dir = words[0];
    if (o.repair && !yes && !confirmed(o.dir))
        return EXIT_USAGE;
    return run_offline(&o, s.json);
}

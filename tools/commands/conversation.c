#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tools/commands/commands.h"
#include "tools/commands/message_print.h"
#include "tools/commands/print.h"
#include "tools/commands/session.h"

struct options {
    struct session session;
    const char *type, *title, *client_id, *role;
    struct flag_list members;
    uint64_t limit;
};

/* One of `parley conversation ...`. */
struct action {
    const char *name, *usage, *about;
    size_t words_min, words_max;
    bool creates, adds, lists;
    int (*run)(struct options *o, char **words);
};

static void put_field(struct text *t, const char *name, const char *value)
{
    text_put_words(t, t->len ? "," : "{");
    text_put_json(t, span_of_words(name));
    text_put_words(t, ":");
    text_put_json(t, span_of_words(value));
}

/* Asks, prints the answer as JSON when wanted, and hands it on. */
static int ask(struct options *o, const char *method, struct text *path, struct text *body, json_t **out)
{
    if (body && (body->failed || !utf8_valid(text_span(body)))) {
        fprintf(stderr, "parley: %s\n",
                parley_err_text(body->failed ? PARLEY_ERR_NOMEM : PARLEY_ERR_BAD_UTF8));
        return -PARLEY_ERR_BAD_UTF8;
    }
    int err = session_ask(&o->session, method, path, body ? text_span(body) : (struct span){0}, out, NULL);
    if (!err && o->session.json)
        session_print_json(*out);
    return err;
}

static int run_create(struct options *o, char **words)
{
    struct text path = {0}, body = {0};
    json_t *answer = NULL;
    (void)words;
    text_put_words(&path, "/v1/conversations");
    put_field(&body, "type", o->type);
    put_field(&body, "client_id", o->client_id);
    if (o->title)
        put_field(&body, "title", o->title);
    for (size_t i = 0; i < o->members.count; i++) {
        text_put_words(&body, i ? "," : ",\"members\":[");
        text_put_json(&body, span_of_words(o->members.items[i]));
    }
    text_put_words(&body, o->members.count ? "]}" : "}");
    int err = ask(o, "POST", &path, &body, &answer);
    if (!err && !o->session.json)
        printf("%s%s\n", json_words(answer, "id"),
               json_is_true(json_object_get(answer, "duplicate")) ? "\tduplicate" : "");
    json_decref(answer);
    text_free(&path);
    text_free(&body);
    return err;
}

static int run_show(struct options *o, char **words)
{
    struct text path = {0};
    json_t *answer = NULL, *value;
    const char *key;
    int err = session_path(&path, words[0], "");
    if (!err)
        err = ask(o, "GET", &path, NULL, &answer);
    struct table table = {.column_count = 2};
    if (!err && !o->session.json) {
        json_object_foreach(answer, key, value)
        {
            char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
            table_put(&table, key);
            table_put(&table, text ? text : json_string_value(value));
            free(text);
        }
        table_print(&table, stdout);
    }
    json_decref(answer);
    text_free(&path);
    return err;
}

static void heading(struct table *table, const char *const *names, size_t count)
{
    *table = (struct table){.column_count = count};
    for (size_t i = 0; i < count; i++)
        table_put(table, names[i]);
}

static uint64_t number(const json_t *object, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(object, key));
    return n > 0 ? (uint64_t)n : 0;
}

/* Prints a page's entries: as JSON lines, or into the table. `columns` are names of fields. */
static void take_entries(const struct options *o, const json_t *entries, struct table *table,
                         const char *const *columns, size_t count)
{
    size_t i;
    json_t *entry;
    json_array_foreach(entries, i, entry)
    {
        if (o->session.json)
            session_print_json(entry);
        for (size_t c = 0; c < count && !o->session.json; c++) {
            const json_t *value = json_object_get(entry, columns[c]);
            if (json_is_integer(value))
                table_put_number(table, number(entry, columns[c]));
            else
                table_put(table, json_string_value(value));
        }
    }
}

/* All pages or nothing: half a table looks like a whole one. */
static void table_end(struct table *table, const struct options *o, int err)
{
    if (err || o->session.json)
        table_clear(table);
    else
        table_print(table, stdout);
}

static int run_list(struct options *o, char **words)
{
    static const char *const columns[] = {"id", "type", "role", "members", "last_seq", "title"};
    struct table table;
    struct text path = {0}, after = {0};
    bool more = true;
    int err = 0;
    (void)words;
    heading(&table, columns, PARLEY_ARRAY_COUNT(columns));
    while (more && !err) {
        json_t *root = NULL;
        text_clear(&path);
        text_put_words(&path, "/v1/conversations?limit=");
        text_put_number(&path, o->limit);
        if (after.len) {
            text_put_words(&path, "&after=");
            text_put_escaped(&path, text_span(&after));
        }
        err = session_ask(&o->session, "GET", &path, (struct span){0}, &root, NULL);
        const json_t *entries = json_object_get(root, "conversations");
        size_t count = json_array_size(entries);
        take_entries(o, entries, &table, columns, PARLEY_ARRAY_COUNT(columns));
        more = count && json_is_true(json_object_get(root, "more"));
        text_clear(&after);
        text_put_words(&after, count ? json_words(json_array_get(entries, count - 1), "id") : "");
        json_decref(root);
    }
    table_end(&table, o, err);
    text_free(&path);
    text_free(&after);
    return err;
}

static int run_members(struct options *o, char **words)
{
    static const char *const columns[] = {"user", "role", "joined", "left"};
    struct table table;
    struct text path = {0};
    uint64_t page = 0;
    bool more = true;
    int err = 0;
    heading(&table, columns, PARLEY_ARRAY_COUNT(columns));
    while (more && !err) {
        json_t *root = NULL;
        char rest[48];
        snprintf(rest, sizeof rest, "/members?page=%llu", (unsigned long long)page);
        err = session_path(&path, words[0], rest);
        if (!err)
            err = session_ask(&o->session, "GET", &path, (struct span){0}, &root, NULL);
        take_entries(o, json_object_get(root, "members"), &table, columns, PARLEY_ARRAY_COUNT(columns));
        uint64_t next = number(root, "next_page");
        more = next > page; /* never back: a confused answer ends the walk */
        page = next;
        json_decref(root);
    }
    table_end(&table, o, err);
    text_free(&path);
    return err;
}

/* add, remove and role: one change of one member. */
static int change(struct options *o, char **words, const char *method, const char *rest, struct text *body)
{
    struct text path = {0};
    json_t *answer = NULL;
    int err = session_path(&path, words[0], rest);
    if (!err && strcmp(method, "POST") != 0) {
        text_put_words(&path, "/");
        text_put_escaped(&path, span_of_words(words[1]));
    }
    if (!err && !body) {
        text_put_words(&path, "?client_id=");
        text_put_escaped(&path, span_of_words(o->client_id));
    }
    if (!err)
        err = ask(o, method, &path, body, &answer);
    json_decref(answer);
    text_free(&path);
    if (body)
        text_free(body);
    return err;
}

static int run_add(struct options *o, char **words)
{
    struct text body = {0};
    put_field(&body, "client_id", o->client_id);
    put_field(&body, "user", words[1]);
    if (o->role)
        put_field(&body, "role", o->role);
    text_put_words(&body, "}");
    return change(o, words, "POST", "/members", &body);
}

static int run_remove(struct options *o, char **words)
{
    return change(o, words, "DELETE", "/members", NULL);
}

static int run_role(struct options *o, char **words)
{
    struct text body = {0};
    put_field(&body, "client_id", o->client_id);
    put_field(&body, "role", words[2]);
    text_put_words(&body, "}");
    return change(o, words, "PUT", "/members", &body);
}

static const struct action actions[] = {
    {"create", "parley conversation create [options]",
     "Creates a conversation and prints its id. Creating again with the same --client-id gives the same "
     "one.\n"
     "\n"
     "  parley conversation create --title Tea --member ann --member bob\n",
     0, 0, true, false, false, run_create},
    {"show", "parley conversation show [options] CONVERSATION", "Shows what a conversation is.\n", 1, 1,
     false, false, false, run_show},
    {"list", "parley conversation list [options]",
     "Lists the conversations that the token's user is a member of.\n", 0, 0, false, false, true, run_list},
    {"members", "parley conversation members [options] CONVERSATION",
     "Lists the members of a conversation, those who left too.\n", 1, 1, false, false, false, run_members},
    {"add", "parley conversation add [options] CONVERSATION USER",
     "Adds a member. Who is in already stays in.\n", 2, 2, false, true, false, run_add},
    {"remove", "parley conversation remove [options] CONVERSATION USER",
     "Removes a member; oneself: leaves the conversation.\n", 2, 2, false, false, false, run_remove},
    {"role", "parley conversation role [options] CONVERSATION USER ROLE",
     "Gives a member another role: read_only, member, admin or owner.\n", 3, 3, false, false, false,
     run_role},
};

static int run_action(const struct action *action, int argc, char **argv)
{
    struct options o = {.type = "group", .limit = 100};
    char **words, fresh[32];
    size_t count;
    struct flag flags[6];
    size_t n = 0;
    if (action->creates) {
        flags[n++] = (struct flag){"type", FLAG_TEXT, &o.type, "TYPE", "direct, group or channel (group)"};
        flags[n++] = (struct flag){"title", FLAG_TEXT, &o.title, "TEXT", "its title; none for direct"};
        flags[n++] =
            (struct flag){"member", FLAG_LIST, &o.members, "USER", "a member; again for more, up to 255"};
    }
    if (action->adds)
        flags[n++] =
            (struct flag){"role", FLAG_TEXT, &o.role, "ROLE", "read_only, member, admin or owner (member)"};
    if (action->lists)
        flags[n++] =
            (struct flag){"limit", FLAG_NUMBER, &o.limit, "N", "conversations asked for at a time (100)"};
    else
        flags[n++] =
            (struct flag){"client-id", FLAG_TEXT, &o.client_id, "ID", "names this change (a random one)"};
    struct command_form form = {.usage = action->usage,
                                .about = action->about,
                                .flags = flags,
                                .flag_count = n,
                                .words_min = action->words_min,
                                .words_max = action->words_max};
    int status = session_flags(&o.session, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    status = session_begin(&o.session);
    if (status != EXIT_SUCCESS)
        return status;
    session_client_id(fresh);
    if (!o.client_id)
        o.client_id = fresh;
    int err = action->run(&o, words);
    session_end(&o.session);
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int command_conversation(int argc, char **argv)
{
    for (size_t i = 0; argc > 1 && i < PARLEY_ARRAY_COUNT(actions); i++)
        if (strcmp(argv[1], actions[i].name) == 0)
            return run_action(&actions[i], argc - 1, argv + 1);
    bool help = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0);
    FILE *to = help ? stdout : stderr;
    if (argc > 1 && !help)
        fprintf(to, "parley: no such thing to do with a conversation: %s\n", argv[1]);
    fprintf(to, "usage:\n");
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(actions); i++)
        fprintf(to, "  %s\n      %.*s\n", actions[i].usage, (int)strcspn(actions[i].about, "\n"),
                actions[i].about);
    fprintf(to, "`parley conversation ACTION --help` explains one.\n");
    return help ? EXIT_SUCCESS : EXIT_USAGE;
}

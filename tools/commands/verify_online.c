#include "tools/commands/verify_online.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "tools/commands/message_print.h"
#include "tools/commands/messages.h"
#include "tools/commands/print.h"

enum { FOUND_STATUS = 1, FAILED_STATUS = 2 };

struct seen {
    uint64_t id, seq;
};

struct walk {
    struct verify_online *o;
    struct session *session;
    const char *conversation;
    struct seen *messages;
    size_t count, max;
    uint64_t every, conversations, looked_up, findings; /* every: of so many, one is looked up */
};

__attribute__((format(printf, 3, 4))) static void found(struct walk *w, const char *what, const char *format,
                                                        ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    w->findings++;
    if (w->session->json) {
        json_t *line = json_pack("{s:s, s:s, s:s, s:s}", "finding", what, "severity", "damage", "where",
                                 w->conversation, "what", text);
        session_print_json(line);
        json_decref(line);
        return;
    }
    printf("damage: %s: conversation %s\n    ", what, w->conversation);
    print_text(stdout, span_of_words(text), 4);
    fputs("\n", stdout);
}

static uint64_t number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_integer(value) ? (uint64_t)json_integer_value(value)
                                  : strtoull(json_words(object, name), NULL, 10);
}

/* ---- one message, asked for by itself */

static void look_up(struct walk *w, const json_t *m, const char *how, const char *rest, const char *user)
{
    struct text path = {0};
    struct refusal refusal = {0};
    json_t *answer = NULL;
    const char *as = w->session->as;
    bool acts = w->session->acts;
    if (user) {
        w->session->as = user;
        w->session->acts = true;
    }
    int err = session_path(&path, w->conversation, rest);
    if (!err)
        err = session_ask(w->session, "GET", &path, (struct span){0}, &answer, &refusal);
    w->session->as = as;
    w->session->acts = acts;
    w->looked_up++;
    bool left = user && (refusal_is(&refusal, "not_member") || refusal_is(&refusal, "forbidden"));
    if (err && !left)
        found(w, how, "message %s: %s", json_words(m, "id"), refusal.code[0] ? refusal.code : "no answer");
    else if (!err && !json_equal(answer, m))
        found(w, how, "message %s: the answer is another one than history has", json_words(m, "id"));
    json_decref(answer);
    text_free(&path);
}

static void look_up_message(struct walk *w, const json_t *m)
{
    char rest[64];
    struct text by_client = {0};
    snprintf(rest, sizeof rest, "/messages/%.32s", json_words(m, "id"));
    look_up(w, m, "message_by_id", rest, NULL);
    text_put_words(&by_client, "/messages?client_msg_id=");
    text_put_escaped(&by_client, span_of_words(json_words(m, "client_msg_id")));
    look_up(w, m, "message_by_client_id", text_words(&by_client), json_words(m, "sender"));
    text_free(&by_client);
}

/* ---- history */

static int keep(struct walk *w, uint64_t id, uint64_t seq)
{
    if (w->count == w->max) {
        size_t max = w->max ? 2 * w->max : 1024;
        struct seen *messages = memory_realloc(w->messages, max * sizeof *messages);
        if (!messages)
            return -PARLEY_ERR_NOMEM;
        w->messages = messages;
        w->max = max;
    }
    w->messages[w->count++] = (struct seen){id, seq};
    return 0;
}

static int on_page(void *owner, const json_t *messages)
{
    struct walk *w = owner;
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m)
    {
        struct seen last = w->count ? w->messages[w->count - 1] : (struct seen){0};
        uint64_t id = number_of(m, "id"), seq = number_of(m, "seq");
        if (seq != last.seq + 1)
            found(w, "message_seq", "message %" PRIu64 " follows message %" PRIu64, seq, last.seq);
        if (id <= last.id)
            found(w, "message_id", "id %" PRIu64 " follows id %" PRIu64, id, last.id);
        int err = keep(w, id, seq);
        if (err)
            return err;
        if (w->o->sample && w->count % w->every == 0)
            look_up_message(w, m);
    }
    return session_stopped() ? -PARLEY_ERR_CLOSING : 0;
}

/* Backwards, page by page, against what forwards has shown; newer ones may have come. */
static int walk_back(struct walk *w)
{
    char before[32] = "";
    size_t left = w->count;
    if (w->count)
        snprintf(before, sizeof before, "%" PRIu64, w->messages[w->count - 1].id + 1);
    while (left) {
        json_t *pages = json_array();
        int err = pages ? messages_before(w->session, w->conversation, before, MESSAGES_PAGE_MAX, pages)
                        : -PARLEY_ERR_NOMEM;
        const json_t *page = json_array_get(pages, 0);
        for (size_t i = json_array_size(page); !err && i > 0 && left; i--) {
            const json_t *m = json_array_get(page, i - 1);
            const struct seen *want = &w->messages[--left];
            if (number_of(m, "id") != want->id || number_of(m, "seq") != want->seq)
                found(w, "pages_differ", "backwards there is message %s where forwards there was %" PRIu64,
                      json_words(m, "id"), want->id);
            snprintf(before, sizeof before, "%s", json_words(m, "id"));
        }
        bool ends = json_array_size(page) < MESSAGES_PAGE_MAX;
        json_decref(pages);
        if (err)
            return err;
        if (ends)
            break;
    }
    if (left)
        found(w, "pages_differ", "%zu messages that are there forwards are not there backwards", left);
    return 0;
}

/* ---- members */

static void check_list(struct walk *w, const char *user)
{
    struct text path = {0};
    json_t *answer = NULL;
    const char *as = w->session->as;
    bool acts = w->session->acts, there = false, more = true;
    char after[40] = "";
    w->session->as = user;
    w->session->acts = true;
    int err = 0;
    while (more && !there && !err) {
        text_clear(&path);
        text_put_words(&path, "/v1/conversations?limit=200");
        text_put_words(&path, after[0] ? "&after=" : "");
        text_put_words(&path, after);
        err = session_ask(w->session, "GET", &path, (struct span){0}, &answer, NULL);
        size_t i;
        json_t *c;
        json_array_foreach(json_object_get(answer, "conversations"), i, c)
        {
            there = there || strcmp(json_words(c, "id"), w->conversation) == 0;
        }
        snprintf(after, sizeof after, "%s", json_words(answer, "next"));
        more = after[0];
        json_decref(answer);
        answer = NULL;
    }
    w->session->as = as;
    w->session->acts = acts;
    w->looked_up++;
    if (!err && !there)
        found(w, "membership_missing", "member %s does not have it in his list", user);
    text_free(&path);
}

static int check_members(struct walk *w, uint64_t told)
{
    uint64_t count = 0, page = 0;
    bool more = true;
    while (more) {
        struct text path = {0};
        char rest[48];
        json_t *answer = NULL, *m;
        size_t i;
        snprintf(rest, sizeof rest, "/members?page=%" PRIu64, page);
        int err = session_path(&path, w->conversation, rest);
        if (!err)
            err = session_ask(w->session, "GET", &path, (struct span){0}, &answer, NULL);
        text_free(&path);
        if (err)
            return err;
        json_array_foreach(json_object_get(answer, "members"), i, m)
        {
            if (count++ < w->o->sample)
                check_list(w, json_words(m, "user"));
        }
        more = json_object_get(answer, "next_page") != NULL &&
               !json_is_null(json_object_get(answer, "next_page"));
        page = number_of(answer, "next_page");
        json_decref(answer);
    }
    if (count != told)
        found(w, "member_count", "it counts %" PRIu64 " members and lists %" PRIu64, told, count);
    return 0;
}

/* ---- conversations */

static int check_conversation(struct walk *w, const char *id)
{
    struct text path = {0};
    json_t *about = NULL;
    w->conversation = id;
    w->count = 0;
    w->conversations++;
    int err = session_path(&path, id, "");
    if (!err)
        err = session_ask(w->session, "GET", &path, (struct span){0}, &about, NULL);
    text_free(&path);
    if (err)
        return err;
    uint64_t last_seq = number_of(about, "last_seq"), members = number_of(about, "members");
    json_decref(about);
    w->every = w->o->sample && last_seq > w->o->sample ? last_seq / w->o->sample : 1;
    err = messages_after(w->session, id, "0", UINT64_MAX, on_page, w);
    if (!err && w->count < last_seq)
        found(w, "message_seq", "its last message is %" PRIu64 ", but history ends with %zu", last_seq,
              w->count);
    if (!err)
        err = walk_back(w);
    return err ? err : check_members(w, members);
}

static int check_user(struct walk *w, const char *user)
{
    char after[40] = "";
    int err = 0;
    do {
        struct text path = {0};
        json_t *answer = NULL, *c;
        size_t i;
        text_put_words(&path, "/v1/conversations?limit=200");
        text_put_words(&path, after[0] ? "&after=" : "");
        text_put_words(&path, after);
        w->session->as = user;
        w->session->acts = true;
        err = session_ask(w->session, "GET", &path, (struct span){0}, &answer, NULL);
        w->session->acts = false;
        text_free(&path);
        snprintf(after, sizeof after, "%s", json_words(answer, "next"));
        json_array_foreach(json_object_get(answer, "conversations"), i, c)
        {
            err = err ? err : check_conversation(w, json_words(c, "id"));
        }
        json_decref(answer);
    } while (!err && after[0]);
    return err;
}

int verify_online(struct verify_online *o)
{
    struct walk w = {.o = o, .session = o->session};
    if (o->conversations.count == 0 && o->users.count == 0) {
        fprintf(stderr, "parley: give a data folder, or --url with --conversation ID or --user USER\n");
        return EXIT_USAGE;
    }
    o->session->service = true;
    if (o->session->data && !o->session->as)
        o->session->as = "verify"; /* whom a service's token is made out to */
    if (session_begin(o->session) != EXIT_SUCCESS)
        return FAILED_STATUS;
    session_catch_signals();
    o->session->acts = false; /* members are named one by one */
    int err = 0;
    for (size_t i = 0; i < o->conversations.count && !err; i++)
        err = check_conversation(&w, o->conversations.items[i]);
    for (size_t i = 0; i < o->users.count && !err; i++)
        err = check_user(&w, o->users.items[i]);
    session_end(o->session);
    memory_free(w.messages);
    if (err)
        return FAILED_STATUS;
    if (o->session->json)
        printf("{\"conversations\":%" PRIu64 ",\"looked_up\":%" PRIu64 ",\"damage\":%" PRIu64 "}\n",
               w.conversations, w.looked_up, w.findings);
    else
        printf("%" PRIu64 " conversations, %" PRIu64 " things looked up one by one: %" PRIu64 " damage\n",
               w.conversations, w.looked_up, w.findings);
    return w.findings ? FOUND_STATUS : EXIT_SUCCESS;
}

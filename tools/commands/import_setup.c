#include "tools/commands/import_setup.h"

#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "tools/client/http_pool.h"
#include "tools/commands/message_print.h"

enum { TITLE_BYTES_MAX_OF_SERVER = 256 };

struct joining {
    uint32_t conversation, person;
};

struct setup {
    struct import_plan *plan;
    struct progress *progress;
    struct joining *joinings;
    size_t done, count;
    uint64_t retry_for_s;
    bool told;
};

static void put_hash(struct text *t, struct span name)
{
    static const char hex[] = "0123456789abcdef";
    struct id16 hash = names_hash(name);
    for (size_t i = 0; i < sizeof hash.bytes; i++)
        text_put(t, (char[]){hex[hash.bytes[i] >> 4], hex[hash.bytes[i] & 15]}, 2);
}

static struct span title_of(struct span name)
{
    if (name.len <= TITLE_BYTES_MAX_OF_SERVER)
        return name;
    name.len = TITLE_BYTES_MAX_OF_SERVER;
    while (name.len && (name.data[name.len] & 0xc0) == 0x80) /* between characters */
        name.len--;
    return name;
}

static void tell(struct setup *s, struct span name, const struct http_answer *answer, const char *hint)
{
    struct refusal refusal;
    refusal_read(&refusal, answer->status, answer->body);
    progress_clear(s->progress);
    s->told = true;
    if (answer->status == 401) { /* not about this conversation */
        session_tell_refusal(&refusal);
        return;
    }
    fprintf(stderr, "parley: conversation %.*s: ", (int)name.len, (const char *)name.data);
    fprintf(stderr, "%s: %s%s\n", refusal.code, refusal.text, hint);
}

static int make_creation(void *owner, size_t job, const char **method, struct text *path, struct text *body)
{
    struct setup *s = owner;
    const struct plan_conversation *c = &s->plan->list[job];
    struct span name = s->plan->conversations.list[job];
    *method = "POST";
    text_put_words(path, "/v1/conversations");
    text_put_words(body, "{\"type\":\"channel\",\"client_id\":\"import-");
    put_hash(body, name);
    text_put_words(body, "\",\"title\":");
    text_put_json(body, title_of(name));
    text_put_words(body, ",\"members\":[");
    for (uint32_t i = 0; i < c->created_with; i++) {
        text_put_words(body, i ? "," : "");
        text_put_json(body, s->plan->people.list[c->members[i]]);
    }
    text_put_words(body, "]}");
    return path->failed || body->failed ? -PARLEY_ERR_NOMEM : 0;
}

static int created(void *owner, size_t job, const struct http_answer *answer)
{
    struct setup *s = owner;
    struct plan_conversation *c = &s->plan->list[job];
    struct span name = s->plan->conversations.list[job];
    if (answer->status == 409 && c->created_with) {
        c->created_with--;
        return -PARLEY_ERR_AGAIN;
    }
    if (answer->status >= 300) {
        tell(s, name, answer,
             answer->status == 409 ? " (an import of another file, or by another user, made it?)" : "");
        return -PARLEY_ERR_FORBIDDEN;
    }
    json_t *root = json_loadb((const char *)answer->body.data, answer->body.len, 0, NULL);
    snprintf(c->id, sizeof c->id, "%s", json_words(root, "id"));
    c->was_there = json_is_true(json_object_get(root, "duplicate"));
    json_decref(root);
    s->done++;
    progress_show(s->progress, s->done, s->done, s->count);
    return *c->id ? 0 : -PARLEY_ERR_BAD_REQUEST;
}

static int make_joining(void *owner, size_t job, const char **method, struct text *path, struct text *body)
{
    struct setup *s = owner;
    const struct joining *j = &s->joinings[job];
    struct span user = s->plan->people.list[j->person];
    *method = "POST";
    text_put_words(path, "/v1/conversations/");
    text_put_words(path, s->plan->list[j->conversation].id);
    text_put_words(path, "/members");
    text_put_words(body, "{\"client_id\":\"import-");
    put_hash(body, user);
    text_put_words(body, "\",\"user\":");
    text_put_json(body, user);
    text_put_words(body, "}");
    return path->failed || body->failed ? -PARLEY_ERR_NOMEM : 0;
}

static int joined(void *owner, size_t job, const struct http_answer *answer)
{
    struct setup *s = owner;
    if (answer->status >= 300) {
        tell(s, s->plan->conversations.list[s->joinings[job].conversation], answer,
             answer->status == 404 || answer->status == 405 ? " (this server cannot add members)" : "");
        return -PARLEY_ERR_FORBIDDEN;
    }
    s->done++;
    progress_show(s->progress, s->done, s->done, s->count);
    return 0;
}

static void waits(void *owner)
{
    struct setup *s = owner;
    progress_clear(s->progress);
    if (!s->progress->quiet)
        fprintf(stderr, "parley: no answer, or the server is busy; trying again for %llu s\n",
                (unsigned long long)s->retry_for_s);
}

static int list_joinings(struct setup *s)
{
    size_t count = 0;
    for (uint32_t c = 0; c < s->plan->conversations.count; c++)
        count += s->plan->list[c].member_count - s->plan->list[c].created_with;
    s->done = 0;
    s->count = count;
    s->joinings = memory_alloc((count + 1) * sizeof *s->joinings);
    if (!s->joinings)
        return -PARLEY_ERR_NOMEM;
    size_t at = 0;
    for (uint32_t c = 0; c < s->plan->conversations.count; c++)
        for (uint32_t i = s->plan->list[c].created_with; i < s->plan->list[c].member_count; i++)
            s->joinings[at++] = (struct joining){c, s->plan->list[c].members[i]};
    return 0;
}

/* A token without the scope would create the conversations, and then not be able to fill them. Who does not answer now, or
 * not in this way, is asked again in the course of the import. */
static int look_at_the_token(struct setup *s, struct session *session)
{
    struct http_answer answer;
    struct refusal refusal;
    if (http_call(&session->http, "GET", "/v1/conversations?limit=1&as=x", (struct span){0}, &answer) != 0 ||
        answer.status != 403)
        return 0;
    refusal_read(&refusal, answer.status, answer.body);
    progress_clear(s->progress);
    session_tell_refusal(&refusal);
    fprintf(stderr, "parley: importing needs a token with --scope service\n");
    s->told = true;
    return -PARLEY_ERR_FORBIDDEN;
}

int import_setup(struct session *session, struct import_plan *plan, struct progress *progress)
{
    static const struct http_pool_ops creations = {make_creation, created, session_stopped, waits};
    static const struct http_pool_ops members = {make_joining, joined, session_stopped, waits};
    struct setup s = {.plan = plan,
                      .progress = progress,
                      .count = plan->conversations.count,
                      .retry_for_s = session->retry_for_s};
    uint64_t retry_for_ms = session->retry_for_s * 1000;
    for (uint32_t c = 0; c < plan->conversations.count; c++) {
        uint32_t count = plan->list[c].member_count;
        plan->list[c].created_with = count < SETUP_MEMBERS_MAX ? count : SETUP_MEMBERS_MAX;
    }
    int err = look_at_the_token(&s, session);
    if (!err)
        err = http_pool_run(&session->url, session->token, s.count, retry_for_ms, &creations, &s);
    if (!err && !session_stopped())
        err = list_joinings(&s);
    if (!err && !session_stopped())
        err = http_pool_run(&session->url, session->token, s.count, retry_for_ms, &members, &s);
    if (err && !s.told) {
        progress_clear(progress);
        session_tell_unreachable(session, err);
    }
    memory_free(s.joinings);
    return err;
}

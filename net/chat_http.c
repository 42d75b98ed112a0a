#include "net/chat_http.h"

#include <stdio.h>
#include <string.h>

#include "net/chat_call.h"
#include "net/chat_http_routes.h"
#include "net/chat_json.h"
#include "net/http_reply.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { ALLOW_BYTES = 64 };

/* Every path of the chat and what may be done with it; docs/openapi.yaml has the same. {} stands for any one segment. */
static const struct route {
    const char *method, *pattern;
    int (*begin)(struct chat_call *call);
} routes[] = {
    {"GET", "/v1/conversations", chat_begin_list},
    {"POST", "/v1/conversations", chat_begin_create},
    {"GET", "/v1/conversations/{id}", chat_begin_conversation},
    {"POST", "/v1/conversations/{id}/fences", chat_begin_fence},
    {"GET", "/v1/conversations/{id}/members", chat_begin_members},
    {"POST", "/v1/conversations/{id}/members", chat_begin_add},
    {"PUT", "/v1/conversations/{id}/members/{user}", chat_begin_role},
    {"DELETE", "/v1/conversations/{id}/members/{user}", chat_begin_remove},
    {"GET", "/v1/conversations/{id}/members/{user}/presence", chat_begin_presence},
    {"GET", "/v1/conversations/{id}/messages", chat_begin_messages},
    {"POST", "/v1/conversations/{id}/messages", chat_begin_send},
    {"GET", "/v1/conversations/{id}/messages/{message}", chat_begin_message},
    {"PUT", "/v1/conversations/{id}/receipt", chat_begin_receipt},
    {"POST", "/v1/conversations/{id}/typing", chat_begin_typing},
    {"PUT", "/v1/users/me/presence", chat_begin_say_presence},
    {"PUT", "/v1/users/me/profile", chat_begin_rename},
    {"GET", "/v1/users/{user}/profile", chat_begin_profile},
};

static const char *const param_names[CHAT_PARAM_COUNT] = {
    [CHAT_AFTER] = "after",
    [CHAT_ALL] = "all",
    [CHAT_AROUND] = "around",
    [CHAT_AS] = "as",
    [CHAT_BEFORE] = "before",
    [CHAT_CLIENT_ID] = "client_id",
    [CHAT_CLIENT_MSG_ID] = "client_msg_id",
    [CHAT_LIMIT] = "limit",
    [CHAT_PAGE] = "page",
};

static bool matches(const char *pattern, const struct query_path *path)
{
    for (size_t i = 0; i < path->count; i++) {
        if (*pattern++ != '/')
            return false;
        struct span want = {(const uint8_t *)pattern, strcspn(pattern, "/")};
        bool any = want.data[0] == '{';
        if (!any &&
            (want.len != path->segments[i].len || memcmp(want.data, path->segments[i].data, want.len) != 0))
            return false;
        pattern += want.len;
    }
    return *pattern == 0;
}

static void add_word(char list[ALLOW_BYTES], const char *word)
{
    size_t len = strlen(list);
    int n = snprintf(list + len, ALLOW_BYTES - len, "%s%s", len ? ", " : "", word);
    parley_assert(n > 0 && (size_t)n < ALLOW_BYTES - len);
}

/* NULL: no path of ours when `allow` is empty, else another method. */
static const struct route *find_route(const struct query_path *path, struct span method,
                                      char allow[ALLOW_BYTES])
{
    allow[0] = 0;
    if (chat_is(method, "HEAD")) /* a GET whose answer is sent without its body */
        method = chat_words("GET");
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(routes); i++) {
        if (!matches(routes[i].pattern, path))
            continue;
        if (chat_is(method, routes[i].method))
            return &routes[i];
        add_word(allow, routes[i].method);
        if (strcmp(routes[i].method, "GET") == 0)
            add_word(allow, "HEAD");
    }
    return NULL;
}

static int begin(struct chat_call *call, const struct route *route, struct span query,
                 struct query_scratch *scratch)
{
    for (size_t i = 0; i < CHAT_PARAM_COUNT; i++)
        call->params[i].name = param_names[i];
    int err = query_read(query, scratch, call->params, CHAT_PARAM_COUNT, &call->fault);
    if (!err)
        err = chat_call_authenticate(call);
    return err ? err : route->begin(call);
}

bool chat_http_answer(struct chat_http *chat, h2o_req_t *req)
{
    struct span target, query;
    struct query_path path;
    char allow[ALLOW_BYTES];
    static const struct fault bad_path = {
        NULL, "A part of the path is empty or not percent-encoded text, or there are too many."};
    query_split(http_span(req->path), &target, &query);
    if (target.len < 4 || memcmp(target.data, "/v1/", 4) != 0)
        return false;
    uint8_t *room = h2o_mem_alloc_pool(&req->pool, req->path.len + 1);
    struct query_scratch scratch = query_scratch_of(room, req->path.len + 1);
    int err = query_path(target, &scratch, &path);
    if (err) {
        http_reply_fault(req, err, err == -PARLEY_ERR_BAD_REQUEST ? &bad_path : NULL, 0);
        return true;
    }
    const struct route *route = find_route(&path, http_span(req->method), allow);
    if (!route) {
        if (allow[0])
            http_reply_error_method(req, allow);
        return allow[0] != 0;
    }
    struct chat_call *call = chat_call_begin(chat, req);
    if (!call)
        return true;
    call->path = path;
    err = begin(call, route, query, &scratch);
    if (err)
        chat_call_refuse(call, err);
    else
        chat->router.submit(chat->router.owner, &call->shard);
    return true;
}

int chat_http_init(struct chat_http *chat, const struct request_router *router, const struct jwt_key *key,
                   const struct chat_http_options *options)
{
    *chat = (struct chat_http){
        .router = *router, .open_max = options->open_max, .answers_bytes_max = options->answers_bytes_max};
    chat->tokens = jwt_verifier_create(key);
    chat->body_reader = json_reader_create(options->body_bytes_max);
    if (chat->tokens && chat->body_reader)
        return 0;
    chat_http_dispose(chat);
    return -PARLEY_ERR_NOMEM;
}

void chat_http_dispose(struct chat_http *chat)
{
    memory_free(chat->page);
    chat->page = NULL;
    jwt_verifier_destroy(&chat->tokens);
    json_reader_destroy(&chat->body_reader);
}

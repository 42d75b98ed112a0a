#include "net/chat_http.h"

#include <string.h>

#include "net/bearer.h"
#include "net/chat_json.h"
#include "net/http_reply.h"
#include "net/query.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rfc3339.h"

enum { HISTORY_LIMIT_DEFAULT = 50, RETRY_AFTER_MS = 500, MESSAGE_JSON_BYTES = 512 };

/* A request under way. It outlives the client: when he goes, `req` becomes NULL and the answer is forgotten. */
struct call {
    struct shard_request shard;
    struct chat_http *chat;
    h2o_req_t *req;
    struct call **back; /* in the request's pool: where it finds us when it dies */
    struct jwt_claims claims;
    struct command_member members[CREATE_MEMBERS_MAX];
    uint8_t *body; /* a copy: h2o's is gone with the client */
};

static struct span span_of(h2o_iovec_t v)
{
    return (struct span){(const uint8_t *)v.base, v.len};
}

/* -- the call's life */

static void client_gone(void *slot)
{
    struct call *call = *(struct call **)slot;
    if (call)
        call->req = NULL;
}

static void call_end(struct call *call)
{
    if (call->req)
        *call->back = NULL;
    call->chat->open_count--;
    memory_free(call->shard.page.entries);
    memory_free(call->body);
    memory_free(call);
}

static void refuse(struct call *call, int err)
{
    bool again = parley_err_status(err) == 503;
    if (call->req)
        http_reply_error(call->req, err, again ? RETRY_AFTER_MS : 0);
    call_end(call);
}

static struct call *call_begin(struct chat_http *chat, h2o_req_t *req)
{
    struct call *call = chat->open_count < chat->open_max ? memory_zalloc(sizeof *call) : NULL;
    if (call && req->entity.len && !(call->body = memory_alloc(req->entity.len))) {
        memory_free(call);
        call = NULL;
    }
    if (!call) {
        http_reply_error(req, PARLEY_ERR_FULL, RETRY_AFTER_MS);
        return NULL;
    }
    if (req->entity.len)
        memcpy(call->body, req->entity.base, req->entity.len);
    chat->open_count++;
    call->chat = chat;
    call->req = req;
    call->back = h2o_mem_alloc_shared(&req->pool, sizeof(struct call *), client_gone);
    *call->back = call;
    call->shard.owner = call;
    return call;
}

/* -- tokens */

static int authenticate(struct call *call)
{
    struct chat_http *chat = call->chat;
    int err = bearer_check(&chat->key, chat->token_reader, call->req, false,
                           chat->router.now_ms(chat->router.owner), &call->claims);
    if (err)
        return err;
    struct command *c = &call->shard.command;
    c->actor = (struct span){(const uint8_t *)call->claims.sub, call->claims.sub_len};
    c->device = (struct span){(const uint8_t *)call->claims.device, call->claims.device_len};
    c->service = jwt_has_scope(&call->claims, "service");
    c->actor_hash = chat->router.hash(chat->router.owner, c->actor.data, c->actor.len);
    return 0;
}

/* -- answers */

static void answered_id(struct shard_request *shard)
{
    struct call *call = shard->owner;
    uint8_t body[256];
    if (shard->error || !call->req) {
        refuse(call, shard->error);
        return;
    }
    struct json_writer w = json_writer_of(body, sizeof body);
    json_open_object(&w);
    json_key(&w, "id");
    if (shard->command.kind == COMMAND_SEND) {
        json_put_id(&w, shard->id);
        json_key(&w, "seq");
        json_put_int(&w, (int64_t)shard->seq);
    } else {
        chat_put_id16(&w, &shard->command.conversation);
    }
    json_key(&w, "duplicate");
    json_put_bool(&w, shard->duplicate);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    http_reply_json(call->req, shard->duplicate ? 200 : 201, (struct span){body, json_writer_len(&w)});
    call_end(call);
}

static void put_message(struct json_writer *w, const struct message *m)
{
    json_open_object(w);
    json_key(w, "id");
    json_put_id(w, m->id);
    json_key(w, "seq");
    json_put_int(w, (int64_t)m->seq);
    json_key(w, "sender");
    json_put_string(w, m->sender);
    json_key(w, "time");
    json_put_time(w, m->time_ms);
    if (m->created_at_ms) {
        json_key(w, "created_at");
        json_put_time(w, m->created_at_ms);
    }
    json_key(w, "content_type");
    json_put_string(w, m->content_type);
    json_key(w, "client_msg_id");
    json_put_string(w, m->client_id);
    json_key(w, "body");
    json_put_string(w, m->body);
    json_close_object(w);
}

static int put_page(struct json_writer *w, const struct shard_page *page)
{
    struct chunk_cursor at = chunk_begin((struct span){page->entries, page->len});
    struct message m;
    int err;
    json_open_object(w);
    json_key(w, "messages");
    json_open_array(w);
    while ((err = chunk_next(&at, &m)) == 0)
        put_message(w, &m);
    json_close_array(w);
    json_key(w, "more");
    json_put_bool(w, page->older || page->newer);
    json_close_object(w);
    return err == -PARLEY_ERR_END ? 0 : err;
}

static void answered_page(struct shard_request *shard)
{
    struct call *call = shard->owner;
    /* An escaped byte is six at most; the fields' names and numbers fit in the rest. */
    size_t room = shard->page.len * 6 + (shard->page.count + 1) * (size_t)MESSAGE_JSON_BYTES;
    uint8_t *body = shard->error || !call->req ? NULL : memory_alloc(room);
    int err = shard->error ? shard->error : body ? 0 : -PARLEY_ERR_NOMEM;
    struct json_writer w = json_writer_of(body, body ? room : 0);
    if (!err)
        err = put_page(&w, &shard->page);
    parley_assert(err || !w.out.failed);
    if (err) {
        refuse(call, err);
    } else {
        http_reply_json(call->req, 200, (struct span){body, json_writer_len(&w)});
        call_end(call);
    }
    memory_free(body);
}

/* -- requests */

static struct span text_or(const struct json_field *field, const char *otherwise)
{
    return field->present ? field->value.string : chat_words(otherwise);
}

static int read_body(struct call *call, struct json_field *fields, size_t count)
{
    return json_read(call->chat->body_reader, call->body, call->req->entity.len, fields, count);
}

/* The reader's spans end with its next use, and this reactor may read another body before the answer comes: what is
 * kept is copied by chat_keep, and the copies replace the call's body. */

static int begin_create(struct call *call)
{
    struct json_field f[] = {{.name = "type", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "client_id", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "title", .kind = JSON_FIELD_STRING},
                             {.name = "members", .kind = JSON_FIELD_STRINGS}};
    struct command *c = &call->shard.command;
    struct request_router *router = &call->chat->router;
    struct hasher hasher = {router->owner, router->hash};
    int err = read_body(call, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return err;
    c->kind = COMMAND_CREATE;
    c->type = chat_is(f[0].value.string, "direct")    ? CONVERSATION_DIRECT
              : chat_is(f[0].value.string, "group")   ? CONVERSATION_GROUP
              : chat_is(f[0].value.string, "channel") ? CONVERSATION_CHANNEL
                                                      : 0;
    size_t count = f[3].present ? f[3].value.strings.count : 0;
    if (!c->type || (c->type == CONVERSATION_DIRECT && count != 1))
        return -PARLEY_ERR_BAD_REQUEST;
    if (count > CREATE_MEMBERS_MAX)
        return -PARLEY_ERR_TOO_LARGE;
    uint8_t *kept = memory_alloc(call->req->entity.len);
    if (!kept)
        return -PARLEY_ERR_NOMEM;
    struct bytes_writer w = bytes_writer_of(kept, call->req->entity.len);
    c->client_id = chat_keep(&w, f[1].value.string);
    c->title = chat_keep(&w, text_or(&f[2], ""));
    for (size_t i = 0; i < count; i++) {
        struct span user = chat_keep(&w, f[3].value.strings.items[i]);
        call->members[i] = (struct command_member){user, router->hash(router->owner, user.data, user.len), 0};
    }
    memory_free(call->body);
    call->body = kept;
    parley_assert(!w.failed);
    c->members = call->members;
    c->member_count = (uint32_t)count;
    c->conversation = c->type == CONVERSATION_DIRECT
                          ? conversation_id_direct(&hasher, c->actor, call->members[0].user)
                          : conversation_id_group(&hasher, c->type, c->actor, c->client_id);
    call->shard.answered = answered_id;
    return 0;
}

static int begin_send(struct call *call)
{
    struct json_field f[] = {{.name = "client_msg_id", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "body", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "content_type", .kind = JSON_FIELD_STRING},
                             {.name = "created_at", .kind = JSON_FIELD_STRING}};
    struct command *c = &call->shard.command;
    int err = read_body(call, f, PARLEY_ARRAY_COUNT(f));
    if (!err && f[3].present)
        err = rfc3339_parse(f[3].value.string.data, f[3].value.string.len, &c->created_at_ms);
    uint8_t *kept = err ? NULL : memory_alloc(call->req->entity.len);
    if (!kept)
        return err ? err : -PARLEY_ERR_NOMEM;
    struct bytes_writer w = bytes_writer_of(kept, call->req->entity.len);
    c->kind = COMMAND_SEND;
    c->client_id = chat_keep(&w, f[0].value.string);
    c->body = chat_keep(&w, f[1].value.string);
    c->content_type = f[2].present ? chat_keep(&w, f[2].value.string) : chat_words("text/plain");
    parley_assert(!w.failed);
    memory_free(call->body);
    call->body = kept;
    call->shard.answered = answered_id;
    return 0;
}

static int number_of(const struct query_param *param, uint64_t *out)
{
    return !param->present || json_id(param->value, out) ? 0 : -PARLEY_ERR_BAD_REQUEST;
}

static int begin_history(struct call *call, struct span query, struct query_scratch *scratch)
{
    struct query_param p[] = {{.name = "after"}, {.name = "before"}, {.name = "limit"}};
    struct history_query *q = &call->shard.history;
    uint64_t limit = HISTORY_LIMIT_DEFAULT;
    int err = query_read(query, scratch, p, PARLEY_ARRAY_COUNT(p));
    if (!err)
        err = number_of(p[0].present ? &p[0] : &p[1], &q->from);
    if (!err)
        err = number_of(&p[2], &limit);
    if (err || limit < 1 || limit > HISTORY_LIMIT_MAX || (p[0].present && p[1].present))
        return err ? err : -PARLEY_ERR_BAD_REQUEST;
    q->limit = (uint32_t)limit;
    q->way = p[0].present ? HISTORY_AFTER : HISTORY_BEFORE;
    call->shard.kind = SHARD_HISTORY;
    call->shard.answered = answered_page;
    return 0;
}

/* Fills the call from path and method. Errors: NOT_FOUND: none of ours. */
static int begin(struct call *call, const struct query_path *path, struct span query,
                 struct query_scratch *scratch)
{
    bool get = chat_is(span_of(call->req->method), "GET"), post = chat_is(span_of(call->req->method), "POST");
    call->shard.kind = SHARD_COMMAND;
    if (path->count == 2)
        return post ? begin_create(call) : -PARLEY_ERR_METHOD;
    if (path->count != 4 || !chat_is(path->segments[3], "messages") ||
        !chat_get_id16(path->segments[2], &call->shard.command.conversation))
        return -PARLEY_ERR_NOT_FOUND;
    return get ? begin_history(call, query, scratch) : post ? begin_send(call) : -PARLEY_ERR_METHOD;
}

bool chat_http_answer(struct chat_http *chat, h2o_req_t *req)
{
    struct span path, query;
    struct query_path segments;
    query_split(span_of(req->path), &path, &query);
    uint8_t *room = h2o_mem_alloc_pool(&req->pool, req->path.len + 1);
    struct query_scratch scratch = query_scratch_of(room, req->path.len + 1);
    if (query_path(path, &scratch, &segments) != 0 || segments.count < 2 ||
        !chat_is(segments.segments[0], "v1") || !chat_is(segments.segments[1], "conversations"))
        return false;
    struct call *call = call_begin(chat, req);
    if (!call)
        return true;
    int err = authenticate(call);
    if (!err)
        err = begin(call, &segments, query, &scratch);
    if (err)
        refuse(call, err);
    else
        chat->router.submit(chat->router.owner, &call->shard);
    return true;
}

int chat_http_init(struct chat_http *chat, const struct request_router *router, const struct jwt_key *key,
                   uint32_t body_bytes_max, uint32_t open_max)
{
    *chat = (struct chat_http){.router = *router, .key = *key, .open_max = open_max};
    chat->token_reader = json_reader_create(JWT_TOKEN_BYTES_MAX);
    chat->body_reader = json_reader_create(body_bytes_max);
    if (chat->token_reader && chat->body_reader)
        return 0;
    chat_http_dispose(chat);
    return -PARLEY_ERR_NOMEM;
}

void chat_http_dispose(struct chat_http *chat)
{
    json_reader_destroy(&chat->token_reader);
    json_reader_destroy(&chat->body_reader);
    jwt_key_wipe(&chat->key);
}

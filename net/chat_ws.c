#include "net/chat_ws.h"

#include <string.h>

#include "net/bearer.h"
#include "net/chat_json.h"
#include "net/http_reply.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rfc3339.h"

enum { ANSWER_BYTES_MAX = 1024, RETRY_AFTER_MS = 500 };
_Static_assert(ANSWER_BYTES_MAX > 6 * CLIENT_ID_BYTES_MAX + 400,
               "an id of escapes and the longest error text fit");

/* One connected device. Freed when its socket is closed and nothing of it is under way. */
struct session {
    struct chat_http *chat;
    struct ws_socket *socket; /* NULL before the first message and after the end */
    bool closed, service;
    uint32_t send_count;
    struct id16 user_hash;
    uint8_t user_len, device_len;
    uint8_t user[USER_ID_BYTES_MAX], device[DEVICE_ID_BYTES_MAX];
};

/* One message under way; its texts stand behind it. */
struct send {
    struct shard_request shard;
    struct session *session;
    uint8_t device_len, device[DEVICE_ID_BYTES_MAX];
    uint8_t bytes[];
};

static void session_end_if_done(struct session *s)
{
    if (!s->closed || s->send_count)
        return;
    s->chat->open_count--;
    memory_free(s);
}

static void tell(struct session *s, const struct json_writer *w)
{
    parley_assert(!w->out.failed);
    if (s->closed)
        return;
    /* A client who does not read his answers loses the connection, not the server its memory. */
    if (ws_socket_send(s->socket, WS_TEXT, (struct span){w->out.start, json_writer_len(w)}) != 0)
        ws_socket_close(s->socket, WS_CODE_TRY_LATER);
}

static void tell_error(struct session *s, struct span client_id, int err)
{
    uint8_t answer[ANSWER_BYTES_MAX];
    struct json_writer w = json_writer_of(answer, sizeof answer);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "error");
    if (client_id.len && client_id.len <= CLIENT_ID_BYTES_MAX) {
        json_key(&w, "client_msg_id");
        json_put_string(&w, client_id);
    }
    json_key(&w, "error");
    json_open_object(&w);
    json_key(&w, "code");
    json_put_text(&w, parley_err_code(err));
    json_key(&w, "message");
    json_put_text(&w, parley_err_text(err));
    if (parley_err_status(err) == 503) {
        json_key(&w, "retry_after_ms");
        json_put_int(&w, RETRY_AFTER_MS);
    }
    json_close_object(&w);
    json_close_object(&w);
    tell(s, &w);
}

static void tell_ack(struct session *s, const struct shard_request *shard)
{
    uint8_t answer[ANSWER_BYTES_MAX];
    struct json_writer w = json_writer_of(answer, sizeof answer);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "ack");
    json_key(&w, "client_msg_id");
    json_put_string(&w, shard->command.client_id);
    json_key(&w, "id");
    json_put_id(&w, shard->id);
    json_key(&w, "seq");
    json_put_int(&w, (int64_t)shard->seq);
    json_key(&w, "duplicate");
    json_put_bool(&w, shard->duplicate);
    json_close_object(&w);
    tell(s, &w);
}

static void answered(struct shard_request *shard)
{
    struct send *send = shard->owner;
    struct session *s = send->session;
    if (shard->error)
        tell_error(s, shard->command.client_id, shard->error);
    else
        tell_ack(s, shard);
    memory_free(send);
    s->send_count--;
    session_end_if_done(s);
}

enum {
    FIELD_TYPE,
    FIELD_CONVERSATION,
    FIELD_CLIENT_ID,
    FIELD_BODY,
    FIELD_CONTENT_TYPE,
    FIELD_CREATED_AT,
    FIELD_AS
};

/* Who sends: the session's user, or whom his service acts for. */
static int put_actor(struct session *s, struct send *send, struct bytes_writer *w,
                     const struct json_field *as)
{
    struct command *c = &send->shard.command;
    struct request_router *router = &s->chat->router;
    c->service = s->service;
    if (!as->present) {
        c->actor = chat_keep(w, (struct span){s->user, s->user_len});
        c->actor_hash = s->user_hash;
        return 0;
    }
    if (!s->service)
        return -PARLEY_ERR_FORBIDDEN;
    c->actor = chat_keep(w, as->value.string);
    c->actor_hash = router->hash(router->owner, c->actor.data, c->actor.len);
    return 0;
}

static int fill(struct session *s, struct send *send, size_t room, const struct json_field *f)
{
    struct command *c = &send->shard.command;
    struct bytes_writer w = bytes_writer_of(send->bytes, room);
    int err = put_actor(s, send, &w, &f[FIELD_AS]);
    if (!err && f[FIELD_CREATED_AT].present)
        err = rfc3339_parse(f[FIELD_CREATED_AT].value.string.data, f[FIELD_CREATED_AT].value.string.len,
                            &c->created_at_ms);
    if (!err && !chat_get_id16(f[FIELD_CONVERSATION].value.string, &c->conversation))
        err = -PARLEY_ERR_NOT_FOUND;
    if (err)
        return err;
    c->kind = COMMAND_SEND;
    c->client_id = chat_keep(&w, f[FIELD_CLIENT_ID].value.string);
    c->body = chat_keep(&w, f[FIELD_BODY].value.string);
    c->content_type = f[FIELD_CONTENT_TYPE].present ? chat_keep(&w, f[FIELD_CONTENT_TYPE].value.string)
                                                    : chat_words("text/plain");
    parley_assert(!w.failed);
    send->device_len = s->device_len;
    memcpy(send->device, s->device, s->device_len);
    c->device = (struct span){send->device, send->device_len};
    return 0;
}

static void on_send(struct session *s, const struct json_field *f, size_t text_len)
{
    struct span client_id = f[FIELD_CLIENT_ID].value.string;
    size_t room = text_len + USER_ID_BYTES_MAX;
    struct send *send = s->send_count < CHAT_WS_SENDS_MAX ? memory_alloc(sizeof *send + room) : NULL;
    if (!send) {
        tell_error(s, client_id, -PARLEY_ERR_FULL);
        return;
    }
    memset(&send->shard, 0, sizeof send->shard);
    send->session = s;
    send->shard.kind = SHARD_COMMAND;
    send->shard.owner = send;
    send->shard.answered = answered;
    int err = fill(s, send, room, f);
    if (err) {
        tell_error(s, client_id, err);
        memory_free(send);
        return;
    }
    s->send_count++;
    s->chat->router.submit(s->chat->router.owner, &send->shard);
}

static void on_message(void *owner, struct ws_socket *socket, bool text, struct span payload)
{
    struct session *s = owner;
    struct json_field f[] = {
        [FIELD_TYPE] = {.name = "type", .kind = JSON_FIELD_STRING, .required = true},
        [FIELD_CONVERSATION] = {.name = "conversation", .kind = JSON_FIELD_STRING, .required = true},
        [FIELD_CLIENT_ID] = {.name = "client_msg_id", .kind = JSON_FIELD_STRING, .required = true},
        [FIELD_BODY] = {.name = "body", .kind = JSON_FIELD_STRING, .required = true},
        [FIELD_CONTENT_TYPE] = {.name = "content_type", .kind = JSON_FIELD_STRING},
        [FIELD_CREATED_AT] = {.name = "created_at", .kind = JSON_FIELD_STRING},
        [FIELD_AS] = {.name = "as", .kind = JSON_FIELD_STRING},
    };
    s->socket = socket;
    int err = text ? json_read(s->chat->body_reader, payload.data, payload.len, f, PARLEY_ARRAY_COUNT(f))
                   : -PARLEY_ERR_BAD_REQUEST;
    if (!err && !chat_is(f[FIELD_TYPE].value.string, "send"))
        err = -PARLEY_ERR_BAD_REQUEST;
    if (err)
        tell_error(s, (struct span){0}, err);
    else
        on_send(s, f, payload.len);
}

static void on_closed(void *owner)
{
    struct session *s = owner;
    s->closed = true;
    s->socket = NULL;
    session_end_if_done(s);
}

void chat_ws_begin(struct chat_http *chat, struct ws_context *context, h2o_req_t *req, const char accept[28])
{
    static const struct ws_socket_ops ops = {on_message, on_closed};
    struct jwt_claims claims;
    int err = bearer_check(&chat->key, chat->token_reader, req, true, chat->router.now_ms(chat->router.owner),
                           &claims);
    struct session *s = err || chat->open_count >= chat->open_max ? NULL : memory_zalloc(sizeof *s);
    if (!s) {
        http_reply_error(req, err ? err : -PARLEY_ERR_FULL, err ? 0 : RETRY_AFTER_MS);
        return;
    }
    s->chat = chat;
    s->service = jwt_has_scope(&claims, "service");
    s->user_len = (uint8_t)claims.sub_len;
    s->device_len = (uint8_t)claims.device_len;
    memcpy(s->user, claims.sub, claims.sub_len);
    memcpy(s->device, claims.device, claims.device_len);
    s->user_hash = chat->router.hash(chat->router.owner, s->user, s->user_len);
    err = ws_socket_upgrade(context, req, accept, &ops, s);
    if (err) {
        memory_free(s);
        http_reply_error(req, err, 0);
        return;
    }
    chat->open_count++;
}

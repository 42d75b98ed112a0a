#include "net/chat_ws.h"

#include <string.h>

#include "net/bearer.h"
#include "net/chat_follow.h"
#include "net/chat_json.h"
#include "net/chat_presence.h"
#include "net/chat_resume.h"
#include "net/chat_watch.h"
#include "net/http_reply.h"
#include "net/query.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rfc3339.h"

enum { ANSWER_BYTES_MAX = 1024 };
_Static_assert(ANSWER_BYTES_MAX > 6 * CLIENT_ID_BYTES_MAX + FAULT_JSON_BYTES_MAX + 128,
               "an id of escapes and the longest error text fit");
_Static_assert(ANSWER_BYTES_MAX > 6 * USER_ID_BYTES_MAX + 200, "hello fits");

/* One message under way; its texts stand behind it. */
struct send {
    struct shard_request shard;
    struct chat_session *session;
    uint8_t bytes[];
};

/* -- what is said to the client */

void chat_session_end_if_done(struct chat_session *s)
{
    if (!s->closed || !s->gone || s->send_count || s->resume_count || s->follow_count || s->question ||
        s->watches)
        return;
    s->door->chat->open_count--;
    memory_free(s->settled);
    memory_free(s);
}

struct span chat_session_user(const struct chat_session *s)
{
    return (struct span){s->texts, s->user_len};
}

void chat_session_tell(struct chat_session *s, struct span text)
{
    if (s->socket && ws_socket_send(s->socket, WS_TEXT, text) != 0)
        ws_socket_close(s->socket, WS_CODE_TRY_LATER);
}

static void tell(struct chat_session *s, const struct json_writer *w)
{
    parley_assert(!w->out.failed);
    chat_session_tell(s, (struct span){w->out.start, json_writer_len(w)});
}

static void tell_error(struct chat_session *s, struct span client_id, const struct id16 *conversation,
                       int err, const struct fault *fault, uint32_t retry_after_ms)
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
    if (conversation) {
        json_key(&w, "conversation");
        chat_put_id16(&w, conversation);
    }
    json_key(&w, "error");
    fault_put(&w, err, fault, retry_after_ms);
    json_close_object(&w);
    tell(s, &w);
}

void chat_session_tell_error(struct chat_session *s, struct span client_id, const struct id16 *conversation,
                             int err, const struct fault *fault)
{
    tell_error(s, client_id, conversation, err, fault, fault_retry_after_ms(err));
}

static void tell_ack(struct chat_session *s, const struct shard_request *shard)
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

static void tell_hello(struct chat_session *s)
{
    struct request_router *router = &s->door->chat->router;
    uint8_t text[ANSWER_BYTES_MAX];
    struct json_writer w = json_writer_of(text, sizeof text);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "hello");
    json_key(&w, "session");
    json_put_id(&w, s->subscriber.session);
    json_key(&w, "user");
    json_put_string(&w, chat_session_user(s));
    json_key(&w, "server_time");
    json_put_time(&w, router->now_ms(router->owner));
    json_close_object(&w);
    tell(s, &w);
    s->ready = true;
}

/* -- live */

static void drop_until_drained(struct chat_session *s)
{
    s->lagging = true;
    ws_socket_await_drain(s->socket);
}

void chat_session_tell_live(struct chat_session *s, const struct live_message *message)
{
    uint32_t queued = s->socket ? ws_socket_queued_bytes(s->socket) : 0;
    struct span text = {message->bytes, message->len};
    if (!s->socket || s->lagging)
        return;
    if ((queued && queued + text.len > CHAT_WS_LIVE_QUEUED_BYTES_MAX) ||
        ws_socket_send(s->socket, WS_TEXT, text) != 0)
        drop_until_drained(s);
}

static void tell_lag(struct chat_session *s)
{
    s->lagging = false;
    chat_watch_close(s); /* a removal may have been lost */
    chat_session_tell(s, chat_words("{\"type\":\"lag\"}"));
}

static void on_drained(void *owner)
{
    struct chat_session *s = owner;
    if (s->lagging)
        tell_lag(s);
    chat_follow_go_on(s);
    chat_resume_go_on(s);
}

static void on_joined(struct subscriber *subscriber, int err)
{
    struct chat_session *s = (struct chat_session *)subscriber;
    if (!s->socket)
        return;
    if (err) {
        ws_socket_close(s->socket, WS_CODE_TRY_LATER);
        return;
    }
    chat_follow_all(s);
}

void chat_session_following(struct chat_session *s)
{
    if (s->ready)
        return;
    tell_hello(s);
    ws_socket_hold(s->socket, false);
}

static void on_deliver(struct subscriber *subscriber, struct live_message *message)
{
    struct chat_session *s = (struct chat_session *)subscriber;
    if (message->kind == EVENT_REMOVED)
        chat_watch_removed(s, message);
    bool of_his = message->kind == 0 || live_message_targets(message, &subscriber->key);
    if (of_his && message->kind == EVENT_REMOVED)
        chat_follow_end(s, &message->conversation);
    else if (message->large)
        chat_follow(s, &message->conversation, of_his);
    if (message->len == 0 || !s->ready)
        return;
    if (!chat_resume_holds(s, message))
        chat_session_tell_live(s, message);
}

void chat_session_lag(struct chat_session *s)
{
    if (!s->socket || !s->ready)
        return;
    chat_resume_lost(s);
    if (s->lagging)
        return;
    if (ws_socket_queued_bytes(s->socket) > CHAT_WS_LIVE_QUEUED_BYTES_MAX)
        drop_until_drained(s);
    else
        tell_lag(s);
}

static void on_lag(struct subscriber *subscriber)
{
    struct chat_session *s = (struct chat_session *)subscriber;
    chat_follow_doubt(s);
    chat_session_lag(s);
}

static void on_gone(struct subscriber *subscriber)
{
    struct chat_session *s = (struct chat_session *)subscriber;
    s->gone = true;
    chat_session_end_if_done(s);
}

/* -- the end */

static bool token_over(const struct chat_session *s)
{
    const struct request_router *router = &s->door->chat->router;
    return s->token_end_s <= router->now_ms(router->owner) / 1000;
}

/* When all that is under way is answered. */
static void leave_if_done(struct chat_session *s)
{
    if (!s->leaving || s->send_count || !s->socket)
        return;
    if (token_over(s))
        ws_socket_close_because(s->socket, WS_CODE_TOKEN_EXPIRED, "token_expired");
    else
        ws_socket_close(s->socket, WS_CODE_GOING_AWAY);
}

static void on_leave(void *owner)
{
    struct chat_session *s = owner;
    s->leaving = true;
    leave_if_done(s);
}

static void on_tick(void *owner)
{
    struct chat_session *s = owner;
    if (token_over(s))
        on_leave(s);
    else
        chat_resume_tick(s);
}

/* -- sends */

static void answered(struct shard_request *shard)
{
    struct send *send = shard->owner;
    struct chat_session *s = send->session;
    bool sent = shard->kind == SHARD_COMMAND && shard->command.kind == COMMAND_SEND;
    bool of_none = sent || shard->kind == SHARD_PRESENCE; /* no conversation says which it was */
    struct fault fault = chat_fault_of_command(&shard->command, shard->error);
    if (shard->error == -PARLEY_ERR_RATE)
        tell_error(s, shard->command.client_id, NULL, shard->error, NULL, shard->retry_after_ms);
    else if (shard->error)
        chat_session_tell_error(s, shard->command.client_id, of_none ? NULL : &shard->command.conversation,
                                shard->error, &fault);
    else if (sent)
        tell_ack(s, shard);
    memory_free(send);
    s->send_count--;
    leave_if_done(s);
    chat_session_end_if_done(s);
}

enum {
    FIELD_TYPE,
    FIELD_CONVERSATION,
    FIELD_CLIENT_ID,
    FIELD_BODY,
    FIELD_CONTENT_TYPE,
    FIELD_CREATED_AT,
    FIELD_AS,
    FIELD_AFTER,
    FIELD_READ,
    FIELD_DELIVERED,
    FIELD_STATE,
    FIELD_USER
};

static int bad_field(struct fault *fault, const struct json_field *field)
{
    *fault = json_field_fault(field);
    return -PARLEY_ERR_BAD_REQUEST;
}

/* Who sends: the session's user, or whom his service acts for. */
static int put_actor(struct chat_session *s, struct send *send, struct bytes_writer *w,
                     const struct json_field *as)
{
    struct command *c = &send->shard.command;
    struct request_router *router = &s->door->chat->router;
    c->service = s->service;
    if (!as->present) {
        c->actor = chat_session_user(s);
        c->actor_hash = s->subscriber.key;
        return 0;
    }
    if (!s->service)
        return -PARLEY_ERR_FORBIDDEN;
    c->actor = chat_keep(w, as->value.string);
    c->actor_hash = router->hash(router->owner, c->actor.data, c->actor.len);
    return 0;
}

/* Makes the command of a frame; `room` is for its texts. */
typedef int fill_fn(struct chat_session *s, struct send *send, struct bytes_writer *room,
                    const struct json_field *f, struct fault *fault);

static int fill_message(struct chat_session *s, struct send *send, struct bytes_writer *room,
                        const struct json_field *f, struct fault *fault)
{
    struct command *c = &send->shard.command;
    struct bytes_writer w = *room;
    for (unsigned needed = FIELD_CLIENT_ID; needed <= FIELD_BODY; needed++)
        if (!f[needed].present)
            return bad_field(fault, &f[needed]);
    if (f[FIELD_CREATED_AT].present &&
        rfc3339_parse(f[FIELD_CREATED_AT].value.string.data, f[FIELD_CREATED_AT].value.string.len,
                      &c->created_at_ms) != 0)
        return bad_field(fault, &f[FIELD_CREATED_AT]);
    c->kind = COMMAND_SEND;
    c->client_id = chat_keep(&w, f[FIELD_CLIENT_ID].value.string);
    c->body = chat_keep(&w, f[FIELD_BODY].value.string);
    c->content_type = f[FIELD_CONTENT_TYPE].present ? chat_keep(&w, f[FIELD_CONTENT_TYPE].value.string)
                                                    : chat_words("text/plain");
    parley_assert(!w.failed);
    c->device = (struct span){s->texts + s->user_len, s->device_len};
    return 0;
}

static int fill_receipt(struct chat_session *s, struct send *send, struct bytes_writer *room,
                        const struct json_field *f, struct fault *fault)
{
    struct command *c = &send->shard.command;
    const struct json_field *read = &f[FIELD_READ], *delivered = &f[FIELD_DELIVERED];
    (void)s, (void)room;
    if (read->present && read->value.integer < 1)
        return bad_field(fault, read);
    if (delivered->present && delivered->value.integer < 1)
        return bad_field(fault, delivered);
    if (!read->present && !delivered->present) {
        *fault = (struct fault){read->name, CHAT_RECEIPT_MUST};
        return -PARLEY_ERR_BAD_REQUEST;
    }
    c->kind = COMMAND_RECEIPT;
    c->read_seq = read->present ? (uint64_t)read->value.integer : 0;
    c->delivered_seq = delivered->present ? (uint64_t)delivered->value.integer : 0;
    return 0;
}

static int fill_typing(struct chat_session *s, struct send *send, struct bytes_writer *room,
                       const struct json_field *f, struct fault *fault)
{
    (void)s, (void)room, (void)f, (void)fault;
    send->shard.kind = SHARD_TYPING;
    return 0;
}

static int fill_presence(struct chat_session *s, struct send *send, struct bytes_writer *room,
                         const struct json_field *f, struct fault *fault)
{
    struct span device = {s->texts + s->user_len, s->device_len};
    (void)room;
    if (!f[FIELD_STATE].present ||
        !chat_presence_say(&send->shard, &s->door->chat->router, device, f[FIELD_STATE].value.string))
        return bad_field(fault, &f[FIELD_STATE]);
    return 0;
}

/* Texts are copied behind the command: the shard may answer when the frame is gone. */
static int submit_command(struct chat_session *s, const struct json_field *f, size_t text_len, fill_fn *fill,
                          struct fault *fault)
{
    if (s->leaving)
        return -PARLEY_ERR_CLOSING;
    struct send *send = s->send_count < CHAT_WS_SENDS_MAX ? memory_alloc(sizeof *send + text_len) : NULL;
    if (!send)
        return -PARLEY_ERR_FULL;
    memset(&send->shard, 0, sizeof send->shard);
    send->session = s;
    send->shard.kind = SHARD_COMMAND;
    send->shard.session = s->subscriber.session;
    send->shard.owner = send;
    send->shard.answered = answered;
    struct bytes_writer room = bytes_writer_of(send->bytes, text_len);
    int err = put_actor(s, send, &room, &f[FIELD_AS]);
    if (!err && f[FIELD_CONVERSATION].present &&
        !chat_get_id16(f[FIELD_CONVERSATION].value.string, &send->shard.command.conversation))
        err = -PARLEY_ERR_NOT_FOUND;
    if (!err)
        err = fill(s, send, &room, f, fault);
    if (err) {
        memory_free(send);
        return err;
    }
    s->send_count++;
    s->door->chat->router.submit(s->door->chat->router.owner, &send->shard);
    return 0;
}

static int on_resume(struct chat_session *s, const struct json_field *f, struct fault *fault)
{
    struct span as = f[FIELD_AS].present ? f[FIELD_AS].value.string : (struct span){0};
    struct id16 conversation;
    uint64_t after = 0;
    if (!chat_get_id16(f[FIELD_CONVERSATION].value.string, &conversation))
        return -PARLEY_ERR_NOT_FOUND;
    if (f[FIELD_AFTER].present && !json_id(f[FIELD_AFTER].value.string, &after))
        return bad_field(fault, &f[FIELD_AFTER]);
    if (f[FIELD_AS].present && !s->service)
        return -PARLEY_ERR_FORBIDDEN;
    return chat_resume_begin(s, &conversation, after, as);
}

static int on_watch(struct chat_session *s, const struct json_field *f, struct fault *fault)
{
    struct id16 conversation;
    if (!f[FIELD_USER].present)
        return bad_field(fault, &f[FIELD_USER]);
    if (!chat_get_id16(f[FIELD_CONVERSATION].value.string, &conversation))
        return -PARLEY_ERR_NOT_FOUND;
    if (s->leaving || !s->live)
        return s->leaving ? -PARLEY_ERR_CLOSING : -PARLEY_ERR_FORBIDDEN;
    return chat_watch(s, &conversation, f[FIELD_USER].value.string);
}

static int on_unwatch(struct chat_session *s, const struct json_field *f, struct fault *fault)
{
    if (!f[FIELD_USER].present)
        return bad_field(fault, &f[FIELD_USER]);
    chat_unwatch(s, f[FIELD_USER].value.string);
    return 0;
}

static int on_command(struct chat_session *s, const struct json_field *f, size_t text_len,
                      struct fault *fault)
{
    static const struct {
        const char *type;
        fill_fn *fill; /* NULL: not by one command */
        int (*begin)(struct chat_session *s, const struct json_field *f, struct fault *fault);
        bool of_none; /* it names no conversation */
    } commands[] = {{"send", fill_message, NULL, false},     {"resume", NULL, on_resume, false},
                    {"typing", fill_typing, NULL, false},    {"receipt", fill_receipt, NULL, false},
                    {"presence", fill_presence, NULL, true}, {"watch", NULL, on_watch, false},
                    {"unwatch", NULL, on_unwatch, true}};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(commands); i++) {
        if (!chat_is(f[FIELD_TYPE].value.string, commands[i].type))
            continue;
        if (!commands[i].of_none && !f[FIELD_CONVERSATION].present)
            return bad_field(fault, &f[FIELD_CONVERSATION]);
        return commands[i].fill ? submit_command(s, f, text_len, commands[i].fill, fault)
                                : commands[i].begin(s, f, fault);
    }
    return bad_field(fault, &f[FIELD_TYPE]);
}

/* What a refused command is told by: a send by its client's id, all else by its conversation. */
static void refuse(struct chat_session *s, const struct json_field *f, int err, const struct fault *fault)
{
    struct id16 conversation;
    bool send = !f[FIELD_TYPE].present || chat_is(f[FIELD_TYPE].value.string, "send");
    bool known = !send && f[FIELD_CONVERSATION].present &&
                 chat_get_id16(f[FIELD_CONVERSATION].value.string, &conversation);
    struct span client_id = f[FIELD_CLIENT_ID].present ? f[FIELD_CLIENT_ID].value.string : (struct span){0};
    chat_session_tell_error(s, client_id, known ? &conversation : NULL, err, fault);
}

/* -- the socket */

static void on_message(void *owner, struct ws_socket *socket, bool text, struct span payload)
{
    struct chat_session *s = owner;
    struct json_field f[] = {
        [FIELD_TYPE] = {.name = "type",
                        .kind = JSON_FIELD_STRING,
                        .required = true,
                        .must = "send, resume, typing, receipt, presence, watch or unwatch"},
        [FIELD_CONVERSATION] = {.name = "conversation",
                                .kind = JSON_FIELD_STRING,
                                .must = CHAT_CONVERSATION_MUST},
        [FIELD_CLIENT_ID] = CHAT_FIELD_CLIENT_ID("client_msg_id"),
        [FIELD_BODY] = CHAT_FIELD_BODY,
        [FIELD_CONTENT_TYPE] = CHAT_FIELD_CONTENT_TYPE,
        [FIELD_CREATED_AT] = CHAT_FIELD_CREATED_AT,
        [FIELD_AS] = CHAT_FIELD_USER("as"),
        [FIELD_AFTER] = {.name = "after", .kind = JSON_FIELD_STRING, .must = CHAT_MESSAGE_ID_MUST},
        [FIELD_READ] = CHAT_FIELD_SEQ("read"),
        [FIELD_DELIVERED] = CHAT_FIELD_SEQ("delivered"),
        [FIELD_STATE] = {.name = "state", .kind = JSON_FIELD_STRING, .must = CHAT_PRESENCE_MUST},
        [FIELD_USER] = CHAT_FIELD_USER("user"),
    };
    (void)socket;
    struct json_reader *reader = s->door->chat->body_reader;
    struct fault fault = {NULL, "A frame must be text, not binary."};
    f[FIELD_CLIENT_ID].required = f[FIELD_BODY].required = false; /* only a send has them */
    int err = text ? json_read(reader, payload.data, payload.len, f, PARLEY_ARRAY_COUNT(f))
                   : -PARLEY_ERR_BAD_REQUEST;
    if (text)
        fault = json_reader_fault(reader);
    bool over = !err && token_over(s);
    if (!err)
        err = over ? -PARLEY_ERR_TOKEN_EXPIRED : on_command(s, f, payload.len, &fault);
    if (err)
        refuse(s, f, err, &fault);
    if (over)
        on_leave(s);
}

static void on_opened(void *owner, struct ws_socket *socket)
{
    struct chat_session *s = owner;
    s->socket = socket;
    if (!s->live) {
        tell_hello(s);
        return;
    }
    ws_socket_hold(socket, true); /* hello comes first */
    live_join(s->door->live, LIVE_USER, &s->subscriber);
}

static void on_closed(void *owner)
{
    struct chat_session *s = owner;
    s->socket = NULL;
    chat_resume_close(s);
    chat_follow_close(s);
    chat_watch_close(s);
    s->closed = true;
    live_leave(s->door->live, &s->subscriber); /* `gone` may free it */
}

/* -- begin and end */

static bool wants_live(h2o_req_t *req)
{
    struct query_param param = {.name = "live"};
    struct span path, query;
    query_split(http_span(req->path), &path, &query);
    uint8_t *room = h2o_mem_alloc_pool(&req->pool, req->path.len + 1);
    struct query_scratch scratch = query_scratch_of(room, req->path.len + 1);
    return query_read(query, &scratch, &param, 1, NULL) != 0 || !param.present ||
           !chat_is(param.value, "false");
}

static struct chat_session *session_create(struct chat_ws *door, const struct jwt_claims *claims, bool live)
{
    static const struct subscriber_ops subscriber = {on_joined, on_deliver, on_lag, on_gone};
    struct request_router *router = &door->chat->router;
    struct chat_session *s = memory_zalloc(sizeof *s + claims->sub_len + claims->device_len);
    if (!s)
        return NULL;
    s->door = door;
    s->live = live;
    s->service = jwt_has_scope(claims, "service");
    uint64_t end_s = jwt_verifier_end_s(door->chat->tokens, claims);
    s->token_end_s = end_s < UINT32_MAX ? (uint32_t)end_s : UINT32_MAX;
    s->user_len = (uint8_t)claims->sub_len;
    s->device_len = (uint8_t)claims->device_len;
    memcpy(s->texts, claims->sub, claims->sub_len);
    memcpy(s->texts + claims->sub_len, claims->device, claims->device_len);
    s->subscriber.ops = &subscriber;
    s->subscriber.key = router->hash(router->owner, s->texts, s->user_len);
    s->subscriber.session = live_session_number(door->live);
    return s;
}

void chat_ws_begin(struct chat_ws *door, struct ws_context *context, h2o_req_t *req, const char accept[28])
{
    static const struct ws_socket_ops ops = {.opened = on_opened,
                                             .message = on_message,
                                             .drained = on_drained,
                                             .tick = on_tick,
                                             .leave = on_leave,
                                             .closed = on_closed};
    struct chat_http *chat = door->chat;
    struct jwt_claims claims;
    int err = bearer_check(chat->tokens, req, true, chat->router.now_ms(chat->router.owner), &claims);
    struct chat_session *s =
        err || chat->open_count >= chat->open_max ? NULL : session_create(door, &claims, wants_live(req));
    if (!s) {
        http_reply_error(req, err ? err : -PARLEY_ERR_FULL, err ? 0 : fault_retry_after_ms(PARLEY_ERR_FULL));
        return;
    }
    err = ws_socket_upgrade(context, req, accept, &ops, s);
    if (err) {
        memory_free(s);
        http_reply_error(req, err, 0);
        return;
    }
    chat->open_count++;
}

uint8_t *chat_ws_room(struct chat_ws *door, size_t len)
{
    if (len <= door->room_bytes)
        return door->room;
    uint8_t *room = memory_realloc(door->room, len);
    if (!room)
        return NULL;
    door->room = room;
    door->room_bytes = len;
    return room;
}

void chat_ws_init(struct chat_ws *door, struct chat_http *chat, struct live *live)
{
    *door = (struct chat_ws){.chat = chat, .live = live};
}

void chat_ws_dispose(struct chat_ws *door)
{
    memory_free(door->room);
    *door = (struct chat_ws){0};
}

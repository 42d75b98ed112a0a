#include "net/chat_call.h"

#include <string.h>

#include "net/bearer.h"
#include "net/chat_json.h"
#include "net/http_reply.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { EVENT_JSON_BYTES = 128, PAGE_KEPT_BYTES = 256 << 10, ANSWER_UNCOUNTED_BYTES = 4096 };

static void request_gone(void *gone)
{
    struct chat_call_slot *slot = gone;
    slot->chat->answers_bytes -= slot->answer_bytes;
    if (slot->call)
        slot->call->req = NULL;
}

struct chat_call *chat_call_begin(struct chat_http *chat, h2o_req_t *req)
{
    /* Decoded text is never longer than what it was decoded from. */
    size_t room = req->path.len + req->entity.len;
    struct chat_call *call = chat->open_count < chat->open_max ? memory_alloc(sizeof *call + room) : NULL;
    if (!call) {
        http_reply_error(req, PARLEY_ERR_FULL, fault_retry_after_ms(PARLEY_ERR_FULL));
        return NULL;
    }
    *call = (struct chat_call){.chat = chat, .req = req, .shard.owner = call};
    call->kept = bytes_writer_of(call->texts, room);
    call->back = h2o_mem_alloc_shared(&req->pool, sizeof *call->back, request_gone);
    *call->back = (struct chat_call_slot){call, chat, 0};
    chat->open_count++;
    return call;
}

static void call_end(struct chat_call *call)
{
    if (call->req)
        call->back->call = NULL;
    call->chat->open_count--;
    memory_free(call->shard.page.entries);
    memory_free(call->members);
    memory_free(call->parts);
    memory_free(call);
}

int chat_call_bad(struct chat_call *call, const char *field, const char *must)
{
    call->fault = (struct fault){field, must};
    return -PARLEY_ERR_BAD_REQUEST;
}

int chat_call_bad_field(struct chat_call *call, const struct json_field *field)
{
    call->fault = json_field_fault(field);
    return -PARLEY_ERR_BAD_REQUEST;
}

static int check_id(struct chat_call *call, const char *field, struct span id, size_t bytes_max,
                    const char *must)
{
    if (id.len > 0 && id.len <= bytes_max)
        return 0;
    call->fault = (struct fault){field, must};
    return id.len ? -PARLEY_ERR_TOO_LARGE : -PARLEY_ERR_BAD_REQUEST;
}

static int check_user(struct chat_call *call, const char *field, struct span user)
{
    return check_id(call, field, user, USER_ID_BYTES_MAX, CHAT_USER_MUST);
}

int chat_call_client_id(struct chat_call *call, enum chat_param param)
{
    const struct query_param *p = &call->params[param];
    return check_id(call, p->name, p->value, CLIENT_ID_BYTES_MAX, CHAT_CLIENT_ID_MUST);
}

int chat_call_authenticate(struct chat_call *call)
{
    struct chat_http *chat = call->chat;
    struct command *c = &call->shard.command;
    const struct query_param *as = &call->params[CHAT_AS];
    int err =
        bearer_check(chat->tokens, call->req, false, chat->router.now_ms(chat->router.owner), &call->claims);
    if (err)
        return err;
    c->actor = (struct span){(const uint8_t *)call->claims.sub, call->claims.sub_len};
    c->device = (struct span){(const uint8_t *)call->claims.device, call->claims.device_len};
    c->service = jwt_has_scope(&call->claims, "service");
    if (as->present) {
        err = c->service ? check_user(call, as->name, as->value) : -PARLEY_ERR_FORBIDDEN;
        if (err)
            return err;
        c->actor = chat_call_keep(call, as->value);
    }
    c->actor_hash = chat->router.hash(chat->router.owner, c->actor.data, c->actor.len);
    return 0;
}

struct span chat_call_keep(struct chat_call *call, struct span text)
{
    struct span kept = chat_keep(&call->kept, text);
    parley_assert(!call->kept.failed);
    return kept;
}

int chat_call_read(struct chat_call *call, struct json_field *fields, size_t count)
{
    struct json_reader *reader = call->chat->body_reader;
    int err =
        json_read(reader, (const uint8_t *)call->req->entity.base, call->req->entity.len, fields, count);
    call->fault = json_reader_fault(reader);
    return err;
}

int chat_call_conversation(struct chat_call *call)
{
    bool good = chat_get_id16(call->path.segments[2], &call->shard.command.conversation);
    return good ? 0 : -PARLEY_ERR_NOT_FOUND;
}

int chat_call_target(struct chat_call *call, struct span user)
{
    struct command *c = &call->shard.command;
    int err = check_user(call, "user", user);
    if (err)
        return err;
    c->target = chat_call_keep(call, user);
    c->target_hash = call->chat->router.hash(call->chat->router.owner, c->target.data, c->target.len);
    return 0;
}

int chat_call_number(struct chat_call *call, enum chat_param param, uint64_t min, uint64_t max,
                     const char *must, uint64_t *out)
{
    uint64_t number;
    if (!call->params[param].present)
        return 0;
    if (!json_id(call->params[param].value, &number) || number < min || number > max)
        return chat_call_bad(call, call->params[param].name, must);
    *out = number;
    return 0;
}

void chat_call_refuse(struct chat_call *call, int err)
{
    int code = err < 0 ? -err : err;
    if (code >= PARLEY_ERR_IO) /* ours to know */
        code = PARLEY_ERR_INTERNAL;
    uint32_t retry_after_ms =
        code == PARLEY_ERR_RATE ? call->shard.retry_after_ms : fault_retry_after_ms(code);
    if (call->req)
        http_reply_fault(call->req, code, &call->fault, retry_after_ms);
    call_end(call);
}

/* Who asks for much and reads nothing has it in our memory, until TCP gives him up. */
static bool count_answer(struct chat_call *call, size_t bytes)
{
    struct chat_http *chat = call->chat;
    if (bytes <= ANSWER_UNCOUNTED_BYTES)
        return true;
    if (chat->answers_bytes && chat->answers_bytes + bytes > chat->answers_bytes_max)
        return false;
    chat->answers_bytes += bytes;
    call->back->answer_bytes = bytes;
    return true;
}

void chat_call_reply(struct chat_call *call, int status, struct span body)
{
    if (call->req && !count_answer(call, body.len)) {
        chat_call_refuse(call, -PARLEY_ERR_FULL);
        return;
    }
    if (call->req)
        http_reply_json(call->req, status, body);
    call_end(call);
}

/* Where an answer is written: the reactor's own page when it is large enough, since one answer is written at a time. */
static uint8_t *take_page(struct chat_http *chat, size_t room)
{
    if (room > PAGE_KEPT_BYTES)
        return memory_alloc(room);
    if (!chat->page)
        chat->page = memory_alloc(PAGE_KEPT_BYTES);
    return chat->page;
}

void chat_call_reply_written(struct chat_call *call, size_t room,
                             int (*write)(struct json_writer *w, struct chat_call *call))
{
    struct chat_http *chat = call->chat;
    if (!call->req) {
        call_end(call);
        return;
    }
    uint8_t *body = take_page(call->chat, room);
    struct json_writer w = json_writer_of(body, body ? room : 0);
    int err = body ? write(&w, call) : -PARLEY_ERR_NOMEM;
    parley_assert(err || !w.out.failed);
    if (err)
        chat_call_refuse(call, err);
    else
        chat_call_reply(call, 200, (struct span){body, json_writer_len(&w)});
    if (body != chat->page)
        memory_free(body);
}

void chat_call_answered_event(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    uint8_t body[EVENT_JSON_BYTES];
    if (shard->error) {
        call->fault = chat_fault_of_command(&shard->command, shard->error);
        chat_call_refuse(call, shard->error);
        return;
    }
    struct json_writer w = json_writer_of(body, sizeof body);
    json_open_object(&w);
    if (shard->id) { /* a receipt that says nothing new has no event */
        json_key(&w, "id");
        json_put_id(&w, shard->id);
    }
    if (shard->command.kind == COMMAND_SEND) {
        json_key(&w, "seq");
        json_put_int(&w, (int64_t)shard->seq);
    }
    json_key(&w, "duplicate");
    json_put_bool(&w, shard->duplicate);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    bool made = shard->command.kind == COMMAND_SEND || shard->command.kind == COMMAND_ADD;
    chat_call_reply(call, made && !shard->duplicate ? 201 : 200, (struct span){body, json_writer_len(&w)});
}

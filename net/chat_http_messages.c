/* Messages: sent, read page by page, read one by one. */
#include "net/chat_http_routes.h"
#include "net/chat_json.h"
#include "net/chat_message.h"
#include "src/base/error.h"
#include "src/base/rfc3339.h"

_Static_assert(HISTORY_LIMIT_MAX == 200, "as refusals say");
enum { HISTORY_LIMIT_DEFAULT = 50 };

/* An escaped byte is six at most; the fields' names and numbers fit in the rest. */
static size_t page_room(const struct shard_page *page)
{
    return page->len * CHAT_ESCAPED_BYTES_MAX + (page->count + 1) * (size_t)CHAT_MESSAGE_JSON_BYTES;
}

static int write_page(struct json_writer *w, struct chat_call *call)
{
    const struct shard_page *page = &call->shard.page;
    struct chunk_cursor at = chunk_begin((struct span){page->entries, page->len});
    struct message m;
    int err;
    json_open_object(w);
    json_key(w, "messages");
    json_open_array(w);
    while ((err = chunk_next(&at, &m)) == 0)
        chat_put_message(w, &m);
    json_close_array(w);
    if (call->shard.history.way == HISTORY_AROUND) {
        json_key(w, "more_before");
        json_put_bool(w, page->older);
        json_key(w, "more_after");
        json_put_bool(w, page->newer);
    } else {
        json_key(w, "more");
        json_put_bool(w, page->older || page->newer);
    }
    json_close_object(w);
    return err == -PARLEY_ERR_END ? 0 : err;
}

static void answered_page(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    if (shard->error)
        chat_call_refuse(call, shard->error);
    else
        chat_call_reply_written(call, page_room(&shard->page), write_page);
}

static int write_one(struct json_writer *w, struct chat_call *call)
{
    const struct shard_page *page = &call->shard.page;
    struct chunk_cursor at = chunk_begin((struct span){page->entries, page->len});
    struct message m;
    int err = chunk_next(&at, &m);
    if (err)
        return err;
    chat_put_message(w, &m);
    return 0;
}

static void answered_one(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    if (shard->error)
        chat_call_refuse(call, shard->error);
    else
        chat_call_reply_written(call, page_room(&shard->page), write_one);
}

int chat_begin_send(struct chat_call *call)
{
    struct json_field f[] = {CHAT_FIELD_CLIENT_ID("client_msg_id"), CHAT_FIELD_BODY, CHAT_FIELD_CONTENT_TYPE,
                             CHAT_FIELD_CREATED_AT};
    struct command *c = &call->shard.command;
    int err = chat_call_conversation(call);
    if (!err)
        err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (!err && f[3].present &&
        rfc3339_parse(f[3].value.string.data, f[3].value.string.len, &c->created_at_ms) != 0)
        err = chat_call_bad_field(call, &f[3]);
    if (err)
        return err;
    c->kind = COMMAND_SEND;
    c->client_id = chat_call_keep(call, f[0].value.string);
    c->body = chat_call_keep(call, f[1].value.string);
    c->content_type = f[2].present ? chat_call_keep(call, f[2].value.string) : chat_words("text/plain");
    call->shard.kind = SHARD_COMMAND;
    call->shard.answered = chat_call_answered_event;
    return 0;
}

static int write_fate(struct json_writer *w, struct chat_call *call)
{
    const struct shard_request *shard = &call->shard;
    json_open_object(w);
    json_key(w, "state");
    json_put_text(w, shard->seq ? "committed" : "fenced");
    json_key(w, "id");
    json_put_id(w, shard->id);
    if (shard->seq) {
        json_key(w, "seq");
        json_put_int(w, (int64_t)shard->seq);
    }
    json_close_object(w);
    return 0;
}

static void answered_fence(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    if (shard->error)
        chat_call_refuse(call, shard->error);
    else
        chat_call_reply_written(call, CHAT_MESSAGE_JSON_BYTES, write_fate);
}

int chat_begin_fence(struct chat_call *call)
{
    struct json_field f[] = {CHAT_FIELD_CLIENT_ID("client_msg_id")};
    int err = chat_call_conversation(call);
    if (!err)
        err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return err;
    call->shard.command.kind = COMMAND_FENCE;
    call->shard.command.client_id = chat_call_keep(call, f[0].value.string);
    call->shard.kind = SHARD_COMMAND;
    call->shard.answered = answered_fence;
    return 0;
}

static int begin_history(struct chat_call *call)
{
    static const struct {
        enum chat_param param;
        enum history_way way;
    } ways[] = {{CHAT_BEFORE, HISTORY_BEFORE}, {CHAT_AFTER, HISTORY_AFTER}, {CHAT_AROUND, HISTORY_AROUND}};
    struct history_query *q = &call->shard.history;
    uint64_t limit = HISTORY_LIMIT_DEFAULT;
    int given = 0,
        err = chat_call_number(call, CHAT_LIMIT, 1, HISTORY_LIMIT_MAX, "a number from 1 to 200", &limit);
    q->way = HISTORY_BEFORE; /* the newest */
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(ways) && !err; i++) {
        if (!call->params[ways[i].param].present)
            continue;
        q->way = ways[i].way;
        err = given++ ? chat_call_bad(call, call->params[ways[i].param].name,
                                      "the only one of before, after and around")
                      : chat_call_number(call, ways[i].param, 0, UINT64_MAX, CHAT_MESSAGE_ID_MUST, &q->from);
    }
    q->limit = (uint32_t)limit;
    call->shard.kind = SHARD_HISTORY;
    call->shard.answered = answered_page;
    return err;
}

int chat_begin_messages(struct chat_call *call)
{
    const struct query_param *p = call->params, *client_id = &p[CHAT_CLIENT_MSG_ID];
    int err = chat_call_conversation(call);
    if (err || !client_id->present)
        return err ? err : begin_history(call);
    if (p[CHAT_BEFORE].present || p[CHAT_AFTER].present || p[CHAT_AROUND].present)
        return chat_call_bad(call, client_id->name, "given without before, after and around");
    err = chat_call_client_id(call, CHAT_CLIENT_MSG_ID);
    if (err)
        return err;
    call->shard.command.client_id = chat_call_keep(call, client_id->value);
    call->shard.kind = SHARD_MESSAGE;
    call->shard.answered = answered_one;
    return 0;
}

int chat_begin_message(struct chat_call *call)
{
    call->shard.kind = SHARD_MESSAGE;
    call->shard.answered = answered_one;
    if (!json_id(call->path.segments[4], &call->shard.history.from))
        return -PARLEY_ERR_NOT_FOUND;
    return chat_call_conversation(call);
}

/* Who is in a conversation, and with which role. */
#include "net/chat_http_routes.h"
#include "net/chat_json.h"
#include "src/base/error.h"

enum { MEMBER_JSON_BYTES = 224 };

/* -- reading */

static int put_member(struct json_writer *w, const struct member_view *m, bool all)
{
    if (m->interval_count == 0)
        return -PARLEY_ERR_CORRUPT;
    struct bytes_reader r = bytes_reader_of(m->intervals.data, m->intervals.len);
    (void)bytes_get_raw(&r, (size_t)(m->interval_count - 1) * 16);
    uint64_t joined = bytes_get_u64(&r), left = bytes_get_u64(&r);
    if (left && !all)
        return 0;
    json_open_object(w);
    json_key(w, "user");
    json_put_string(w, m->user);
    json_key(w, "role");
    json_put_text(w, chat_role_name(m->role));
    json_key(w, "joined");
    json_put_id(w, joined);
    if (left) {
        json_key(w, "left");
        json_put_id(w, left);
    }
    if (m->delivered_seq) {
        json_key(w, "read");
        json_put_int(w, (int64_t)m->read_seq);
        json_key(w, "delivered");
        json_put_int(w, (int64_t)m->delivered_seq);
    }
    json_close_object(w);
    return 0;
}

static int write_members(struct json_writer *w, struct chat_call *call)
{
    const struct shard_request *shard = &call->shard;
    struct bytes_reader r = bytes_reader_of(shard->page.entries, shard->page.len);
    json_open_object(w);
    json_key(w, "members");
    json_open_array(w);
    for (uint32_t i = 0; i < shard->page.count; i++) {
        struct member_view m = member_get(&r);
        int err = r.failed ? -PARLEY_ERR_CORRUPT : put_member(w, &m, call->all);
        if (err)
            return err;
    }
    json_close_array(w);
    if (shard->next_page) {
        json_key(w, "next_page");
        json_put_int(w, shard->next_page);
    }
    json_close_object(w);
    return 0;
}

static void answered_members(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    size_t room = shard->page.len * 6 + (shard->page.count + 1) * (size_t)MEMBER_JSON_BYTES;
    if (shard->error)
        chat_call_refuse(call, shard->error);
    else
        chat_call_reply_written(call, room, write_members);
}

int chat_begin_members(struct chat_call *call)
{
    const struct query_param *all = &call->params[CHAT_ALL];
    uint64_t page = 0;
    int err = chat_call_conversation(call);
    if (!err)
        err = chat_call_number(call, CHAT_PAGE, 0, PAGE_COUNT_MAX - 1, "the number of a page", &page);
    call->all = all->present && chat_is(all->value, "true");
    if (!err && all->present && !call->all && !chat_is(all->value, "false"))
        err = chat_call_bad(call, all->name, "true or false");
    call->shard.kind = SHARD_MEMBERS;
    call->shard.from_page = (uint32_t)page;
    call->shard.answered = answered_members;
    return err;
}

/* -- changing */

static int take_role(struct chat_call *call, const struct json_field *field)
{
    bool good = !field->present || chat_role_named(field->value.string, &call->shard.command.role);
    return good ? 0 : chat_call_bad_field(call, field);
}

static int begin_change(struct chat_call *call, enum command_kind kind, struct span client_id,
                        struct span user)
{
    struct command *c = &call->shard.command;
    int err = chat_call_conversation(call);
    if (!err)
        err = chat_call_target(call, user);
    if (err)
        return err;
    c->kind = kind;
    c->client_id = chat_call_keep(call, client_id);
    call->shard.kind = SHARD_COMMAND;
    call->shard.answered = chat_call_answered_event;
    return 0;
}

int chat_begin_add(struct chat_call *call)
{
    struct json_field f[] = {CHAT_FIELD_CLIENT_ID("client_id"),
                             CHAT_FIELD_USER("user"),
                             {.name = "role", .kind = JSON_FIELD_STRING, .must = CHAT_ROLE_MUST}};
    f[1].required = true;
    int err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (!err)
        err = take_role(call, &f[2]);
    return err ? err : begin_change(call, COMMAND_ADD, f[0].value.string, f[1].value.string);
}

int chat_begin_role(struct chat_call *call)
{
    struct json_field f[] = {
        CHAT_FIELD_CLIENT_ID("client_id"),
        {.name = "role", .kind = JSON_FIELD_STRING, .required = true, .must = CHAT_ROLE_MUST}};
    int err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (!err)
        err = take_role(call, &f[1]);
    return err ? err : begin_change(call, COMMAND_ROLE, f[0].value.string, call->path.segments[4]);
}

int chat_begin_remove(struct chat_call *call)
{
    int err = chat_call_client_id(call, CHAT_CLIENT_ID);
    if (err)
        return err;
    return begin_change(call, COMMAND_REMOVE, call->params[CHAT_CLIENT_ID].value, call->path.segments[4]);
}

/* -- receipts and typing */

int chat_begin_receipt(struct chat_call *call)
{
    struct json_field f[] = {CHAT_FIELD_SEQ("read"), CHAT_FIELD_SEQ("delivered")};
    struct command *c = &call->shard.command;
    int err = chat_call_conversation(call);
    if (!err)
        err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return err;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(f); i++)
        if (f[i].present && f[i].value.integer < 1)
            return chat_call_bad_field(call, &f[i]);
    if (!f[0].present && !f[1].present)
        return chat_call_bad(call, f[0].name, CHAT_RECEIPT_MUST);
    c->kind = COMMAND_RECEIPT;
    c->read_seq = f[0].present ? (uint64_t)f[0].value.integer : 0;
    c->delivered_seq = f[1].present ? (uint64_t)f[1].value.integer : 0;
    call->shard.kind = SHARD_COMMAND;
    call->shard.answered = chat_call_answered_event;
    return 0;
}

static void answered_typing(struct shard_request *shard)
{
    if (shard->error)
        chat_call_refuse(shard->owner, shard->error);
    else
        chat_call_reply(shard->owner, 200, chat_words("{}"));
}

int chat_begin_typing(struct chat_call *call)
{
    call->shard.kind = SHARD_TYPING;
    call->shard.answered = answered_typing;
    return chat_call_conversation(call);
}

/* Conversations: created, told about, listed. A list is asked of the user's shard, and what it names of the owner of each. */
#include <string.h>

#include "net/chat_http_routes.h"
#include "net/chat_json.h"
#include "src/base/error.h"
#include "src/base/memory.h"

_Static_assert(LIST_LIMIT_MAX == 200, "as refusals say");
enum { LIST_LIMIT_DEFAULT = 50, CONVERSATION_JSON_BYTES = 512, CREATED_JSON_BYTES = 128 };

/* -- creating */

static void answered_create(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    uint8_t body[CREATED_JSON_BYTES];
    if (shard->error) {
        chat_call_refuse(call, shard->error);
        return;
    }
    struct json_writer w = json_writer_of(body, sizeof body);
    json_open_object(&w);
    json_key(&w, "id");
    chat_put_id16(&w, &shard->command.conversation);
    json_key(&w, "duplicate");
    json_put_bool(&w, shard->duplicate);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    chat_call_reply(call, shard->duplicate ? 200 : 201, (struct span){body, json_writer_len(&w)});
}

static enum conversation_type type_of(struct span name)
{
    return chat_is(name, "direct")    ? CONVERSATION_DIRECT
           : chat_is(name, "group")   ? CONVERSATION_GROUP
           : chat_is(name, "channel") ? CONVERSATION_CHANNEL
                                      : 0;
}

static int take_members(struct chat_call *call, const struct json_field *field)
{
    struct request_router *router = &call->chat->router;
    size_t count = field->present ? field->value.strings.count : 0;
    if (count > CREATE_MEMBERS_MAX) {
        call->fault = json_field_fault(field);
        return -PARLEY_ERR_LIMIT;
    }
    if (count == 0)
        return 0;
    call->members = memory_zalloc(count * sizeof *call->members);
    if (!call->members)
        return -PARLEY_ERR_NOMEM;
    for (size_t i = 0; i < count; i++) {
        struct span user = chat_call_keep(call, field->value.strings.items[i]);
        call->members[i] = (struct command_member){user, router->hash(router->owner, user.data, user.len), 0};
    }
    call->shard.command.members = call->members;
    call->shard.command.member_count = (uint32_t)count;
    return 0;
}

int chat_begin_create(struct chat_call *call)
{
    struct json_field f[] = {
        {.name = "type", .kind = JSON_FIELD_STRING, .required = true, .must = "direct, group or channel"},
        CHAT_FIELD_CLIENT_ID("client_id"),
        {.name = "title",
         .kind = JSON_FIELD_STRING,
         .bytes_max = TITLE_BYTES_MAX,
         .must = "a text of at most 256 bytes"},
        {.name = "members",
         .kind = JSON_FIELD_STRINGS,
         .bytes_min = 1,
         .bytes_max = USER_ID_BYTES_MAX,
         .must = "a list of user ids of 1 to 64 bytes, 256 with the creator"}};
    struct command *c = &call->shard.command;
    struct hasher hasher = {call->chat->router.owner, call->chat->router.hash};
    int err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return err;
    c->kind = COMMAND_CREATE;
    c->type = type_of(f[0].value.string);
    if (!c->type)
        return chat_call_bad_field(call, &f[0]);
    err = take_members(call, &f[3]);
    if (err)
        return err;
    bool direct = c->type == CONVERSATION_DIRECT;
    if (direct &&
        (c->member_count != 1 || memcmp(&c->members[0].hash, &c->actor_hash, sizeof c->actor_hash) == 0))
        return chat_call_bad(call, "members", "the one other user of a direct conversation");
    if (direct && f[2].present && f[2].value.string.len)
        return chat_call_bad(call, "title", "absent: a direct conversation has none");
    c->client_id = chat_call_keep(call, f[1].value.string);
    c->title = f[2].present ? chat_call_keep(call, f[2].value.string) : chat_words("");
    c->conversation = c->type == CONVERSATION_DIRECT
                          ? conversation_id_direct(&hasher, c->actor, call->members[0].user)
                          : conversation_id_group(&hasher, c->type, c->actor, c->client_id);
    call->shard.kind = SHARD_COMMAND;
    call->shard.answered = answered_create;
    return 0;
}

/* -- one */

static size_t summary_room(const struct conversation_summary *s)
{
    return CONVERSATION_JSON_BYTES + 6 * ((size_t)s->title_len + s->creator_len);
}

static void put_summary(struct json_writer *w, const struct id16 *id, const struct conversation_summary *s)
{
    static const char *const types[] = {
        [CONVERSATION_DIRECT] = "direct", [CONVERSATION_GROUP] = "group", [CONVERSATION_CHANNEL] = "channel"};
    parley_assert((size_t)s->type < PARLEY_ARRAY_COUNT(types) && types[s->type]);
    json_open_object(w);
    json_key(w, "id");
    chat_put_id16(w, id);
    json_key(w, "type");
    json_put_text(w, types[s->type]);
    json_key(w, "title");
    json_put_string(w, (struct span){s->title, s->title_len});
    if (s->role) {
        json_key(w, "role");
        json_put_text(w, chat_role_name(s->role));
    }
    json_key(w, "members");
    json_put_int(w, s->members);
    json_key(w, "last_seq");
    json_put_int(w, (int64_t)s->last_seq);
    if (s->role) {
        json_key(w, "unread");
        json_put_int(w, (int64_t)s->unread);
        json_key(w, "read");
        json_put_int(w, (int64_t)s->read_seq);
        json_key(w, "delivered");
        json_put_int(w, (int64_t)s->delivered_seq);
    }
    if (s->last_message_id) {
        json_key(w, "last_message_id");
        json_put_id(w, s->last_message_id);
    }
    json_key(w, "created_at");
    json_put_time(w, s->created_ms);
    json_key(w, "creator");
    json_put_string(w, (struct span){s->creator, s->creator_len});
    json_close_object(w);
}

static int write_conversation(struct json_writer *w, struct chat_call *call)
{
    put_summary(w, &call->shard.command.conversation, &call->shard.summary);
    return 0;
}

static void answered_conversation(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    if (shard->error)
        chat_call_refuse(call, shard->error);
    else
        chat_call_reply_written(call, summary_room(&shard->summary), write_conversation);
}

int chat_begin_conversation(struct chat_call *call)
{
    call->shard.kind = SHARD_CONVERSATION;
    call->shard.answered = answered_conversation;
    return chat_call_conversation(call);
}

/* -- the list */

static int write_list(struct json_writer *w, struct chat_call *call)
{
    const struct shard_page *page = &call->shard.page;
    json_open_object(w);
    json_key(w, "conversations");
    json_open_array(w);
    for (uint32_t i = 0; i < call->part_count; i++)
        if (!call->parts[i].error)
            put_summary(w, &call->parts[i].command.conversation, &call->parts[i].summary);
    json_close_array(w);
    json_key(w, "more");
    json_put_bool(w, page->newer);
    if (page->newer && call->part_count) {
        json_key(w, "next");
        chat_put_id16(w, &call->parts[call->part_count - 1].command.conversation);
    }
    json_close_object(w);
    return 0;
}

/* One wait less; the last one answers. */
static void part_done(struct chat_call *call)
{
    size_t room = CONVERSATION_JSON_BYTES;
    int first = 0;
    if (--call->part_waits)
        return;
    for (uint32_t i = 0; i < call->part_count; i++) {
        int err = call->parts[i].error;
        bool gone = err == -PARLEY_ERR_NOT_MEMBER || err == -PARLEY_ERR_NOT_FOUND; /* in the meantime */
        first = first || gone ? first : err;
        room += err ? 0 : summary_room(&call->parts[i].summary);
    }
    if (first)
        chat_call_refuse(call, first);
    else
        chat_call_reply_written(call, room, write_list);
}

static void answered_part(struct shard_request *part)
{
    part_done(part->owner);
}

/* Asks the owners, all at once. */
static int ask_owners(struct chat_call *call)
{
    struct request_router *router = &call->chat->router;
    const struct shard_page *page = &call->shard.page;
    struct bytes_reader r = bytes_reader_of(page->entries, page->len);
    uint32_t count = page->count;
    if (count > LIST_LIMIT_MAX || page->len != (size_t)count * LIST_ENTRY_BYTES)
        return -PARLEY_ERR_INTERNAL;
    call->parts = count ? memory_zalloc(count * sizeof *call->parts) : NULL;
    if (count && !call->parts)
        return -PARLEY_ERR_NOMEM;
    call->part_count = count;
    call->part_waits = count + 1; /* an answer may come within submit, and must not be taken for the last */
    for (uint32_t i = 0; i < count; i++) {
        struct shard_request *part = &call->parts[i];
        part->kind = SHARD_CONVERSATION;
        part->command.actor = call->shard.command.actor;
        part->command.actor_hash = call->shard.command.actor_hash;
        part->command.conversation = bytes_get_id16(&r);
        (void)bytes_get_u64(&r);
        part->owner = call;
        part->answered = answered_part;
    }
    for (uint32_t i = 0; i < count; i++)
        router->submit(router->owner, &call->parts[i]);
    part_done(call);
    return 0;
}

static void answered_list(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    int err = shard->error ? shard->error : call->req ? ask_owners(call) : -PARLEY_ERR_CLOSING;
    if (err)
        chat_call_refuse(call, err);
}

int chat_begin_list(struct chat_call *call)
{
    const struct query_param *after = &call->params[CHAT_AFTER];
    uint64_t limit = LIST_LIMIT_DEFAULT;
    int err = chat_call_number(call, CHAT_LIMIT, 1, LIST_LIMIT_MAX, "a number from 1 to 200", &limit);
    if (!err && after->present && !chat_get_id16(after->value, &call->shard.list_after))
        err = chat_call_bad(call, after->name, CHAT_CONVERSATION_MUST);
    call->shard.kind = SHARD_LIST;
    call->shard.limit = (uint32_t)limit;
    call->shard.answered = answered_list;
    return err;
}

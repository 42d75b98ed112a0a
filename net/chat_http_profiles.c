/* What users say about themselves. */
#include "net/chat_http_routes.h"
#include "net/chat_json.h"
#include "src/base/error.h"

enum { PROFILE_JSON_BYTES = 64 };

int chat_begin_rename(struct chat_call *call)
{
    struct json_field f[] = {CHAT_FIELD_CLIENT_ID("client_id"),
                             {.name = "display_name",
                              .kind = JSON_FIELD_STRING,
                              .required = true,
                              .bytes_max = DISPLAY_NAME_BYTES_MAX,
                              .must = "a text of at most 256 bytes"}};
    struct command *c = &call->shard.command;
    int err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return err;
    c->kind = COMMAND_PROFILE;
    c->client_id = chat_call_keep(call, f[0].value.string);
    c->display_name = chat_call_keep(call, f[1].value.string);
    call->shard.kind = SHARD_COMMAND;
    call->shard.answered = chat_call_answered_event;
    return 0;
}

static int write_profile(struct json_writer *w, struct chat_call *call)
{
    json_open_object(w);
    json_key(w, "user");
    json_put_string(w, call->shard.command.target);
    json_key(w, "display_name");
    json_put_string(w, (struct span){call->shard.page.entries, call->shard.page.len});
    json_close_object(w);
    return 0;
}

static void answered_profile(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    size_t room = PROFILE_JSON_BYTES + 6 * (shard->command.target.len + shard->page.len);
    if (shard->error)
        chat_call_refuse(call, shard->error);
    else
        chat_call_reply_written(call, room, write_profile);
}

/* `me` is who asks, also for somebody whose name it is. */
int chat_begin_profile(struct chat_call *call)
{
    struct command *c = &call->shard.command;
    call->shard.kind = SHARD_PROFILE;
    call->shard.answered = answered_profile;
    if (!chat_is(call->path.segments[2], "me"))
        return chat_call_target(call, call->path.segments[2]);
    c->target = c->actor;
    c->target_hash = c->actor_hash;
    return 0;
}

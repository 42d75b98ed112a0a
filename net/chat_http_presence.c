/* Who is there: said by a device, asked about a member. */
#include "net/chat_http_routes.h"
#include "net/chat_presence.h"
#include "src/base/error.h"

static void answered_say(struct shard_request *shard)
{
    if (shard->error)
        chat_call_refuse(shard->owner, shard->error);
    else
        chat_call_reply(shard->owner, 200, chat_words("{}"));
}

int chat_begin_say_presence(struct chat_call *call)
{
    struct json_field f[] = {
        {.name = "state", .kind = JSON_FIELD_STRING, .required = true, .must = CHAT_PRESENCE_MUST}};
    int err = chat_call_read(call, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return err;
    if (!chat_presence_say(&call->shard, &call->chat->router, call->shard.command.device, f[0].value.string))
        return chat_call_bad_field(call, &f[0]);
    call->shard.answered = answered_say;
    return 0;
}

static void answered_presence(struct shard_request *shard)
{
    struct presence_view view = chat_presence_view(&shard->presence);
    uint8_t text[CHAT_PRESENCE_JSON_BYTES];
    if (shard->error) {
        chat_call_refuse(shard->owner, shard->error);
        return;
    }
    size_t len = chat_presence_encode(false, shard->command.target, &view, text);
    chat_call_reply(shard->owner, 200, (struct span){text, len});
}

/* The conversation's owner has said that they know each other: now his own shard is asked. */
static void answered_acquainted(struct shard_request *shard)
{
    struct chat_call *call = shard->owner;
    if (shard->error) {
        chat_call_refuse(call, shard->error);
        return;
    }
    shard->kind = SHARD_PRESENCE;
    shard->answered = answered_presence;
    call->chat->router.submit(call->chat->router.owner, shard);
}

int chat_begin_presence(struct chat_call *call)
{
    int err = chat_call_conversation(call);
    call->shard.kind = SHARD_ACQUAINTED;
    call->shard.answered = answered_acquainted;
    return err ? err : chat_call_target(call, call->path.segments[4]);
}

#include "net/chat_presence.h"

#include <string.h>

static const char *const names[] = {
    [PRESENCE_OFFLINE] = "offline", [PRESENCE_AWAY] = "away", [PRESENCE_ONLINE] = "online"};

static bool find_state(struct span name, uint8_t *state)
{
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(names); i++)
        if (chat_is(name, names[i])) {
            *state = (uint8_t)i;
            return true;
        }
    return false;
}

bool chat_presence_say(struct shard_request *shard, const struct request_router *router, struct span device,
                       struct span state)
{
    struct shard_presence *p = &shard->presence;
    struct command *c = &shard->command;
    if (!find_state(state, &p->state))
        return false;
    struct id16 hash = router->hash(router->owner, device.data, device.len);
    memcpy(&p->device, hash.bytes, sizeof p->device);
    p->says = true;
    c->target = c->actor;
    c->target_hash = c->actor_hash;
    shard->kind = SHARD_PRESENCE;
    return true;
}

struct presence_view chat_presence_view(const struct shard_presence *answer)
{
    return (struct presence_view){(enum presence_state)answer->state, answer->last_seen_ms, answer->version};
}

size_t chat_presence_encode(bool frame, struct span user, const struct presence_view *view,
                            uint8_t out[CHAT_PRESENCE_JSON_BYTES])
{
    struct json_writer w = json_writer_of(out, CHAT_PRESENCE_JSON_BYTES);
    json_open_object(&w);
    if (frame) {
        json_key(&w, "type");
        json_put_text(&w, "presence");
    }
    json_key(&w, "user");
    json_put_string(&w, user);
    json_key(&w, "state");
    json_put_text(&w, names[view->state]);
    if (view->state == PRESENCE_OFFLINE && view->last_seen_ms) {
        json_key(&w, "last_seen");
        json_put_time(&w, view->last_seen_ms);
    }
    json_close_object(&w);
    parley_assert(!w.out.failed);
    return json_writer_len(&w);
}

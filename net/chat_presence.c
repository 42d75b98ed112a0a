#include "net/chat_presence.h"

static const char *const names[] = {
    [PRESENCE_OFFLINE] = "offline", [PRESENCE_AWAY] = "away", [PRESENCE_ONLINE] = "online"};

bool chat_presence_named(struct span name, uint8_t *state)
{
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(names); i++)
        if (chat_is(name, names[i])) {
            *state = (uint8_t)i;
            return true;
        }
    return false;
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

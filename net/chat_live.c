#include "net/chat_live.h"

#include "net/chat_json.h"
#include "net/chat_message.h"

static const char *kind_text(enum event_kind kind)
{
    return kind == EVENT_CREATED   ? "created"
           : kind == EVENT_ADDED   ? "added"
           : kind == EVENT_REMOVED ? "removed"
           : kind == EVENT_RECEIPT ? "receipt"
                                   : "role";
}

static const char *role_text(enum member_role role)
{
    return role == ROLE_OWNER    ? "owner"
           : role == ROLE_ADMIN  ? "admin"
           : role == ROLE_MEMBER ? "member"
                                 : "read_only";
}

size_t chat_live_message_room(const struct message *m)
{
    return CHAT_MESSAGE_JSON_BYTES +
           CHAT_ESCAPED_BYTES_MAX * (m->sender.len + m->content_type.len + m->client_id.len + m->body.len);
}

static size_t encode_message(const struct id16 *conversation, const struct message *m, bool replay,
                             uint8_t *out, size_t room)
{
    struct json_writer w = json_writer_of(out, room);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "message");
    json_key(&w, "conversation");
    chat_put_id16(&w, conversation);
    if (replay) {
        json_key(&w, "replay");
        json_put_bool(&w, true);
    }
    chat_put_message_fields(&w, m);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    return json_writer_len(&w);
}

size_t chat_live_encode_replay(const struct id16 *conversation, const struct message *m, uint8_t *out,
                               size_t room)
{
    return encode_message(conversation, m, true, out, room);
}

size_t chat_live_room(const struct event *event)
{
    struct message m;
    if (event->kind != EVENT_MESSAGE)
        return CHAT_MESSAGE_JSON_BYTES + (size_t)CHAT_ESCAPED_BYTES_MAX * 2 * USER_ID_BYTES_MAX;
    message_of_event(&m, event);
    return chat_live_message_room(&m);
}

size_t chat_live_encode(const struct event *event, uint8_t *out, size_t room)
{
    struct message m;
    if (event->kind == EVENT_MESSAGE) {
        message_of_event(&m, event);
        return encode_message(&event->conversation, &m, false, out, room);
    }
    struct json_writer w = json_writer_of(out, room);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "event");
    json_key(&w, "kind");
    json_put_text(&w, kind_text(event->kind));
    json_key(&w, "conversation");
    chat_put_id16(&w, &event->conversation);
    json_key(&w, "id");
    json_put_id(&w, event->id);
    json_key(&w, "time");
    json_put_time(&w, event->time_ms);
    if (event->kind != EVENT_RECEIPT) {
        json_key(&w, "actor");
        json_put_string(&w, event->actor);
    }
    if (event->kind != EVENT_CREATED) {
        json_key(&w, "target");
        json_put_string(&w, event->target);
    }
    if (event->kind == EVENT_ADDED || event->kind == EVENT_ROLE) {
        json_key(&w, "role");
        json_put_text(&w, role_text(event->role));
    }
    if (event->kind == EVENT_RECEIPT) {
        json_key(&w, "read");
        json_put_int(&w, (int64_t)event->read_seq);
        json_key(&w, "delivered");
        json_put_int(&w, (int64_t)event->delivered_seq);
    }
    json_close_object(&w);
    parley_assert(!w.out.failed);
    return json_writer_len(&w);
}

size_t chat_live_encode_typing(const struct id16 *conversation, struct span user,
                               uint8_t out[CHAT_TYPING_JSON_BYTES])
{
    struct json_writer w = json_writer_of(out, CHAT_TYPING_JSON_BYTES);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "typing");
    json_key(&w, "conversation");
    chat_put_id16(&w, conversation);
    json_key(&w, "user");
    json_put_string(&w, user);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    return json_writer_len(&w);
}

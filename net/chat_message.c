#include "net/chat_message.h"

void chat_put_message_fields(struct json_writer *w, const struct message *m)
{
    json_key(w, "id");
    json_put_id(w, m->id);
    json_key(w, "seq");
    json_put_int(w, (int64_t)m->seq);
    json_key(w, "sender");
    json_put_string(w, m->sender);
    json_key(w, "time");
    json_put_time(w, m->time_ms);
    if (m->created_at_ms) {
        json_key(w, "created_at");
        json_put_time(w, m->created_at_ms);
    }
    json_key(w, "content_type");
    json_put_string(w, m->content_type);
    json_key(w, "client_msg_id");
    json_put_string(w, m->client_id);
    json_key(w, "body");
    json_put_string(w, m->body);
}

void chat_put_message(struct json_writer *w, const struct message *m)
{
    json_open_object(w);
    chat_put_message_fields(w, m);
    json_close_object(w);
}

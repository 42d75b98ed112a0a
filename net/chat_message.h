/* net/chat_message.h: a message as JSON, the same in a page of history and live.
 *
 * Why:    one spelling for every door.
 * Shape:  "id","seq","sender","time","created_at"?,"content_type","client_msg_id","body"
 * Thread: any.
 */
#ifndef PARLEY_NET_CHAT_MESSAGE_H
#define PARLEY_NET_CHAT_MESSAGE_H

#include "net/json_writer.h"
#include "src/machine/chunk.h"

/* What the names and numbers of a message take, with those of its envelope, and what an escaped byte takes. */
enum { CHAT_MESSAGE_JSON_BYTES = 512, CHAT_ESCAPED_BYTES_MAX = 6 };

/* Into an object that the caller opened. */
void chat_put_message_fields(struct json_writer *w, const struct message *m);
void chat_put_message(struct json_writer *w, const struct message *m);

#endif

/* net/chat_live.h: events as JSON frames, for src/session/live.h: encoded once, for all who receive.
 *
 * Shape:  {"type":"message","conversation", the message's fields}
 *         {"type":"event","kind":"created|added|removed|role|receipt","conversation","id","time", what the kind has}
 *         {"type":"typing","conversation","user"}
 * Thread: any.
 */
#ifndef PARLEY_NET_CHAT_LIVE_H
#define PARLEY_NET_CHAT_LIVE_H

#include "src/machine/chunk.h"

enum { CHAT_TYPING_JSON_BYTES = 128 + 6 * USER_ID_BYTES_MAX };

/* The most that chat_live_encode writes. */
size_t chat_live_room(const struct event *event);
size_t chat_live_encode(const struct event *event, uint8_t *out, size_t room);
/* The same frame of a message from history, with "replay":true: a client who asked for it passes over the live ones that came
 * before the server had read his question, because history brings them again. */
size_t chat_live_message_room(const struct message *message);
size_t chat_live_encode_replay(const struct id16 *conversation, const struct message *message, uint8_t *out,
                               size_t room);
/* Somebody is writing; no event: it has no id. */
size_t chat_live_encode_typing(const struct id16 *conversation, struct span user,
                               uint8_t out[CHAT_TYPING_JSON_BYTES]);

#endif

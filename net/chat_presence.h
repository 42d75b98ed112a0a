/* net/chat_presence.h: presence as JSON.
 *
 * Thread: any.
 */
#ifndef PARLEY_NET_CHAT_PRESENCE_H
#define PARLEY_NET_CHAT_PRESENCE_H

#include "net/chat_json.h"
#include "net/chat_message.h"
#include "src/session/presence.h"
#include "src/shard/request.h"

#define CHAT_PRESENCE_MUST "online, away or offline"

enum { CHAT_PRESENCE_JSON_BYTES = 128 + CHAT_ESCAPED_BYTES_MAX * USER_ID_BYTES_MAX };

/* Makes the request, of which the actor is known, say his state by that device. False: there is no such state. */
PARLEY_MUST_USE bool chat_presence_say(struct shard_request *shard, const struct request_router *router,
                                       struct span device, struct span state);
/* What a shard has answered. */
struct presence_view chat_presence_view(const struct shard_presence *answer);
/* {"type":"presence","user","state","last_seen"?}; `type` in a frame only, `last_seen` of who is offline. */
size_t chat_presence_encode(bool frame, struct span user, const struct presence_view *view,
                            uint8_t out[CHAT_PRESENCE_JSON_BYTES]);

#endif

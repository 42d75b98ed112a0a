/* net/chat_http_routes.h: what the routes of chat_http.c begin.
 *
 * Shape:  each fills call->shard from path, params and body, and sets `answered`. Segments are as in the route's pattern.
 * Thread: the reactor's.
 * Errors: for chat_call_refuse.
 */
#ifndef PARLEY_NET_CHAT_HTTP_ROUTES_H
#define PARLEY_NET_CHAT_HTTP_ROUTES_H

#include "net/chat_call.h"

PARLEY_MUST_USE int chat_begin_create(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_list(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_conversation(struct chat_call *call);

PARLEY_MUST_USE int chat_begin_members(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_add(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_role(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_remove(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_receipt(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_typing(struct chat_call *call);

PARLEY_MUST_USE int chat_begin_presence(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_say_presence(struct chat_call *call);

PARLEY_MUST_USE int chat_begin_send(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_fence(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_messages(struct chat_call *call); /* history, or one by its client's id */
PARLEY_MUST_USE int chat_begin_message(struct chat_call *call);

PARLEY_MUST_USE int chat_begin_rename(struct chat_call *call);
PARLEY_MUST_USE int chat_begin_profile(struct chat_call *call);

#endif

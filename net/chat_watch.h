/* net/chat_watch.h: whom a session watches: it is told when they come, go away, or are gone.
 *
 * Why:    presence concerns only who asked for it, and is told only about people with whom one shares a conversation.
 * Shape:  chat_watch names a conversation; its owner says that both are members -> joins, with the subject's hash as its key
 *         -> asks for the state, and tells it -> each change
 *         It ends with chat_unwatch, with the session, with a removal of either from that conversation, and with `lag`, since
 *         a removal may have been among what was lost.
 * Bounds: CHAT_WATCHES_MAX of a session, and as many that are ending.
 * Thread: the reactor's.
 * Errors: of chat_watch: nothing has begun; later ones are told with the conversation.
 */
#ifndef PARLEY_NET_CHAT_WATCH_H
#define PARLEY_NET_CHAT_WATCH_H

#include "net/chat_session.h"

enum { CHAT_WATCHES_MAX = 256 };

/* Whom one watches already is asked for anew. -PARLEY_ERR_FULL, -PARLEY_ERR_NOMEM */
PARLEY_MUST_USE int chat_watch(struct chat_session *s, const struct id16 *conversation, struct span user);
void chat_unwatch(struct chat_session *s, struct span user);
/* Somebody was removed. */
void chat_watch_removed(struct chat_session *s, const struct live_message *message);
/* Ends all of them. */
void chat_watch_close(struct chat_session *s);

#endif

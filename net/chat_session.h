/* net/chat_session.h: a WebSocket session of the chat, as its own parts see it (chat_ws.c, chat_resume.c,
 * chat_follow.c, chat_watch.c).
 *
 * Why:    an idle one is what a million users cost: its texts are allocated exactly, and what a resume needs comes and
 *         goes with it.
 * Owner:  freed when its socket is closed, nothing of it is under way and it is registered nowhere.
 * Thread: its reactor.
 */
#ifndef PARLEY_NET_CHAT_SESSION_H
#define PARLEY_NET_CHAT_SESSION_H

#include "net/chat_ws.h"
#include "src/session/live.h"

struct chat_resume;
struct chat_follow;
struct chat_question;
struct chat_settled;
struct chat_watches;

struct chat_session {
    struct subscriber subscriber; /* first: it leads back to us */
    struct chat_ws *door;
    struct ws_socket *socket; /* NULL before the connection is made, and after its end */
    /* live: it wants live events. ready: hello is said. lagging: live messages are dropped until that is told. leaving: no
     * more sends, since the server stops or the token has expired. going_on is chat_resume.c's. */
    bool closed : 1, gone : 1, service : 1, live : 1, ready : 1, lagging : 1, leaving : 1, going_on : 1;
    uint8_t user_len, device_len, settled_ticks;
    uint32_t token_end_s; /* since 1970; UINT32_MAX: later than anybody asks */
    uint16_t send_count, resume_count, running_count, follow_count, settled_count, settled_next;
    struct chat_resume *resumes; /* in the order in which they came */
    struct chat_follow *follows;
    struct chat_question *question; /* chat_follow.c's; NULL when nothing is asked */
    struct chat_settled *settled;
    struct chat_watches *watches; /* chat_watch.c's; NULL when nobody is watched */
    uint8_t texts[];              /* user, device */
};

/* Sends a frame that must not be lost: a client who does not read his answers loses the connection. */
void chat_session_tell(struct chat_session *s, struct span text);
/* The error of a command; both names may be empty, and `fault` NULL. */
void chat_session_tell_error(struct chat_session *s, struct span client_id, const struct id16 *conversation,
                             int err, const struct fault *fault);
/* A live one: dropped, and `lag` told later, when too much is queued. */
void chat_session_tell_live(struct chat_session *s, const struct live_message *message);
/* Something live was lost: the client is told, and whoever catches up reads once more. Nothing before hello is promised. */
void chat_session_lag(struct chat_session *s);
/* All that concerns the user reaches the session: hello, once. */
void chat_session_following(struct chat_session *s);
struct span chat_session_user(const struct chat_session *s);
/* Room to write a frame in, until the next call; NULL when out of memory. */
PARLEY_MUST_USE uint8_t *chat_ws_room(struct chat_ws *door, size_t len);
/* Frees it, if it is at its end. */
void chat_session_end_if_done(struct chat_session *s);

#endif

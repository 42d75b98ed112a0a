/* net/chat_resume.h: brings a session up to date in one conversation, then lets live go on, without a gap.
 *
 * Shape:  chat_resume_begin -> summary (who may read; is it large: follow it) -> history pages above `after` -> "resumed"
 *         Live messages of the conversation are meanwhile not sent but noted; when the last page ends and something was
 *         noted since it was asked for, one more page is read. What history has shown and live brings once more is dropped.
 * Bounds: RESUMES_MAX wait or run in a session, RESUMES_RUNNING_MAX of them run, each with one page; a page is sent while
 *         less than RESUME_QUEUED_BYTES_MAX are queued at the socket.
 * Thread: the session's reactor.
 * Errors: told in a frame that names the conversation; that resume has ended.
 */
#ifndef PARLEY_NET_CHAT_RESUME_H
#define PARLEY_NET_CHAT_RESUME_H

#include "net/chat_session.h"

enum {
    RESUMES_MAX = 256,
    RESUMES_RUNNING_MAX = 8,
    RESUME_PAGE_MESSAGES = 50,
    RESUME_QUEUED_BYTES_MAX = 128 << 10
};

/* `as`: whom a service acts for; empty: the session's user. A resume of the same conversation starts over. */
PARLEY_MUST_USE int chat_resume_begin(struct chat_session *s, const struct id16 *conversation, uint64_t after,
                                      struct span as);
/* The session is ready, or its socket has room again. */
void chat_resume_go_on(struct chat_session *s);
/* Is this live message not to be sent, now or ever? */
bool chat_resume_holds(struct chat_session *s, const struct live_message *message);
/* The large conversation that a resume waited for is followed, or not. */
void chat_resume_followed(struct chat_session *s, const struct id16 *conversation, int err);
/* Live messages were lost: whoever catches up reads once more. */
void chat_resume_lost(struct chat_session *s);
/* Once in a while: forgets what is settled for long. */
void chat_resume_tick(struct chat_session *s);
/* The socket is closed. */
void chat_resume_close(struct chat_session *s);

#endif

/* net/chat_follow.h: a session follows those of its user's conversations that are too large for an event to carry who is in.
 *
 * Why:    live is of all the user's conversations, whatever their size, and without a client's doing.
 * Shape:  connecting: chat_follow_all asks which they are, follows each, then `done`, and hello is said.
 *         later:      a live message marks a conversation as large, or the user's shard says that he became a member of
 *                     one -> chat_follow. A resume goes the same way.
 *         Each: OUT -> joins the directory of the owner's reactor -> is judged: is he a member? -> told of events, until he
 *         is removed. Who joins first and is judged then can miss no removal.
 *         A loss may have been his removal: he is judged again.
 * Loss:   what comes before the judgement is not sent; when that, or what came before he joined, is more than nothing, the
 *         session is told `lag`.
 * Bounds: FOLLOWS_MAX of a session, beyond which `lag` is all that it hears; one question under way.
 * Thread: the session's reactor.
 */
#ifndef PARLEY_NET_CHAT_FOLLOW_H
#define PARLEY_NET_CHAT_FOLLOW_H

#include "net/chat_session.h"

enum { FOLLOWS_MAX = 1024 };

/* Follows all of them; calls chat_session_following when the session does. */
void chat_follow_all(struct chat_session *s);
/* A live message marked it. Within a delivery. `joined_now`: he became a member, so something may have been missed. */
void chat_follow(struct chat_session *s, const struct id16 *conversation, bool joined_now);
/* 0: it is followed; -PARLEY_ERR_AGAIN: chat_resume_followed will be called; -PARLEY_ERR_FULL. */
PARLEY_MUST_USE int chat_follow_for_resume(struct chat_session *s, const struct id16 *conversation);
/* Live messages were lost: all are judged again, by chat_follow_go_on or by a resume. May be called within a delivery. */
void chat_follow_doubt(struct chat_session *s);
/* What was sent is written. */
void chat_follow_go_on(struct chat_session *s);
/* He may read it: a resume that waited for it has shown so. */
void chat_follow_allowed(struct chat_session *s, const struct id16 *conversation);
/* He is no member any more. Within a delivery. */
void chat_follow_end(struct chat_session *s, const struct id16 *conversation);
/* The socket is closed. */
void chat_follow_close(struct chat_session *s);

#endif

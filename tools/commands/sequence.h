/* tools/commands/sequence.h: the messages of a conversation, each once and in order, whatever a connection does.
 *
 * Why:    around a resume, live messages may overtake older ones; a reconnect repeats some; a lagging session misses
 *         some. Whoever prints what comes loses or repeats messages.
 * Shape:  sequence_resume (a resume was sent) -> sequence_take (messages) -> emit -> sequence_resumed (the server's mark)
 *         From a resume to its mark only what the server replays goes on: what comes live was on the way before it read
 *         the question, and comes again. The replay is in order; where it leaves out a number the gap is real (the
 *         reader was no member for a while). Live, numbers have no gap: one that is left out means that something is
 *         missing, and to resume. An id at or below the last one that went on is a repetition.
 *         Two resumes may get one mark or two. The first ends the wait: what it ends was complete, and the rest repeats.
 * Owner:  a zeroed sequence starts at the first message. It owns nothing.
 * Thread: one at a time.
 * Errors: PARLEY_ERR_AGAIN: something is missing: send a resume after `last_id`; what was given comes again.
 */
#ifndef PARLEY_TOOLS_SEQUENCE_H
#define PARLEY_TOOLS_SEQUENCE_H

#include "src/base/base.h"

struct sequence {
    uint64_t last_id, last_seq;
    bool resuming;
    void (*emit)(void *owner, struct span text);
    void *owner;
};

PARLEY_MUST_USE int sequence_take(struct sequence *s, uint64_t id, uint64_t seq, bool replay,
                                  struct span text);
void sequence_resume(struct sequence *s);
void sequence_resumed(struct sequence *s);

#endif

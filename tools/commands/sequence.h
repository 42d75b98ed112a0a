/* tools/commands/sequence.h: messages that come out of order and twice go on in order and once.
 *
 * Why:    around a resume, live messages may overtake older ones; a reconnect repeats some; a lagging session misses
 *         some. Whoever prints what comes loses or repeats messages.
 * Shape:  sequence_resume (a resume was sent) -> sequence_take (messages) -> emit -> sequence_resumed (the server's mark)
 *         Sequence numbers of a conversation have no gaps, so the next in line goes on at once. What is further ahead is
 *         held: during a catch-up until the gap closes or the server says that it has sent everything (then the gap is
 *         real: the reader was no member for a while); live, it means that something is missing: resume again.
 *         An id at or below the last one that went on is a repetition.
 * Owner:  a zeroed sequence starts at the first message; sequence_clear frees it. Texts are copied when held.
 * Thread: one at a time.
 * Errors: PARLEY_ERR_AGAIN: something is missing: send a resume after `last_id`. PARLEY_ERR_NOMEM.
 */
#ifndef PARLEY_TOOLS_SEQUENCE_H
#define PARLEY_TOOLS_SEQUENCE_H

#include "src/base/base.h"

enum { SEQUENCE_HELD_MAX = 16384 };

struct sequence_held {
    uint64_t id, seq;
    uint8_t *text;
    size_t len;
};

struct sequence {
    uint64_t last_id, last_seq;
    bool seq_unknown;           /* last_seq says nothing: any next one will do, once it is live */
    uint32_t resumes;           /* sent, and not marked as done by the server */
    struct sequence_held *held; /* in the order of ids */
    size_t held_count, held_room;
    void (*emit)(void *owner, struct span text);
    void *owner;
};

PARLEY_MUST_USE int sequence_take(struct sequence *s, uint64_t id, uint64_t seq, struct span text);
void sequence_resume(struct sequence *s);
void sequence_resumed(struct sequence *s);
/* The connection is gone: what is held will come again. */
void sequence_lost(struct sequence *s);
void sequence_clear(struct sequence *s);

#endif

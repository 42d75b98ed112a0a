/* tools/commands/import_queue.h: which message goes out next: in order within each conversation, and many at a time.
 *
 * Why:    a message refused because the server is busy is sent again. Had the next one of its conversation been sent
 *         already, it might be accepted meanwhile, and would then stand before it for ever. So the order within a
 *         conversation is kept by having one message of it under way (each_max), and speed comes from many conversations
 *         at a time: the file is read ahead, up to ahead_bytes_max.
 *         each_max above 1 is for who knows that the server has nothing else to do: order then survives lost
 *         connections and restarts (what is sent again comes in order, and first ones count), but not a refusal; what got
 *         out of order is counted.
 * Shape:  push (lines in the order of the file) -> next -> sent -> acked | refused | failed
 *         lost: nothing is under way any more, all that was will be given out again, in order.
 *         A conversation is in `ready` while it has something that may go out. After a refusal it is halted until the rest
 *         of it that is under way is answered.
 * Owner:  the queue owns its items; one is valid until it is acked or failed.
 * Thread: one.
 * Errors: PARLEY_ERR_NOMEM. PARLEY_ERR_NOT_FOUND: an answer for what is not under way.
 */
#ifndef PARLEY_TOOLS_IMPORT_QUEUE_H
#define PARLEY_TOOLS_IMPORT_QUEUE_H

#include "src/base/base.h"

struct import_item {
    struct import_item *next;
    uint64_t line, ordinal; /* in the file; in its conversation */
    uint64_t time_ms;
    uint32_t lane;
    uint8_t state;
    struct span sender, text;
    uint8_t bytes[];
};

struct import_lane { /* one conversation */
    struct import_item *first, *last, *unsent;
    uint32_t under_way;
    bool halted, ready;
};

struct import_queue {
    uint32_t each_max;
    struct import_lane *lanes;
    uint32_t lane_count;
    uint32_t *ready; /* a ring of lanes */
    uint32_t ready_from, ready_count;
    uint64_t bytes, count; /* held */
    uint64_t under_way, out_of_order;
};

PARLEY_MUST_USE int import_queue_init(struct import_queue *q, uint32_t lane_count, uint32_t each_max);
void import_queue_clear(struct import_queue *q);
PARLEY_MUST_USE int import_queue_push(struct import_queue *q, uint32_t lane, const struct import_item *what);
/* The next item to send, or NULL. It counts as under way from now on. */
struct import_item *import_queue_next(struct import_queue *q);
/* What is under way in the lane with the ordinal, or NULL. */
struct import_item *import_queue_find(const struct import_queue *q, uint32_t lane, uint64_t ordinal);
/* It is there, or will never be: the item is gone afterwards. */
void import_queue_done(struct import_queue *q, struct import_item *item);
/* To be sent again. */
void import_queue_refused(struct import_queue *q, struct import_item *item);
void import_queue_lost(struct import_queue *q);
/* All lines below are done; `read` is the number of the last line that was pushed or passed over. */
uint64_t import_queue_mark(const struct import_queue *q, uint64_t read);

#endif

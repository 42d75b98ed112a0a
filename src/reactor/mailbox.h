/* src/reactor/mailbox.h: what reactors say to each other, and the only way they say it.
 *
 * Why:    no lock and no unbounded queue between cores, and no way to wait for each other in a circle.
 * Shape:  grid of N mailboxes, one a reactor; between each ordered pair three rings:
 *           request  asks; takes a reply credit first, so that
 *           reply    exactly one for each request, at any later time, can never fail;
 *           live     tells; may be refused, which marks the destination as lagging behind this sender.
 *         send ... send -> flush (wakes sleepers) -> the peer drains -> handler
 *         Nobody waits: a drain takes all that had arrived, and a handler cannot refuse.
 * Thread: a mailbox belongs to the thread that bound it; every call asserts it, except mailbox_wake.
 *         The simulated twin is this code: bind all mailboxes to one thread, and drain them by hand.
 * Errors: -PARLEY_ERR_FULL when refused; nothing has changed but a counter (and the lagging mark).
 */
#ifndef PARLEY_REACTOR_MAILBOX_H
#define PARLEY_REACTOR_MAILBOX_H

#include "src/base/base.h"

enum { MAILBOX_REACTOR_COUNT_MAX = 256, MAILBOX_BODY_BYTES = 56 };

enum mailbox_lane { MAILBOX_REQUEST, MAILBOX_REPLY, MAILBOX_LIVE, MAILBOX_LANE_COUNT };

struct mailbox_message {
    uint16_t kind; /* the handlers' own; the mailbox does not look at it */
    uint16_t from; /* set by the mailbox, as is `lane` */
    uint8_t lane;
    uint8_t reserved[3];
    union {
        uint64_t words[MAILBOX_BODY_BYTES / 8];
        void *pointers[MAILBOX_BODY_BYTES / 8];
        uint8_t bytes[MAILBOX_BODY_BYTES];
    } body; /* pointers in it change their owner with the message */
};

/* Called by mailbox_drain. May send, also to the sender; may not drain. */
struct mailbox_handler {
    void *owner;
    void (*message)(void *owner, const struct mailbox_message *message);
    /* Live messages of reactor `from` were lost, and what is handed over from now on may lie behind them: catch up. NULL: the
     * user asks mailbox_take_lagging before he sleeps, else mailbox_prepare_sleep keeps answering false. */
    void (*lagging)(void *owner, uint16_t from);
};

/* Powers of two. `request_slots` is also the number of requests of one pair that may wait for a reply. */
struct mailbox_options {
    uint16_t reactor_count;
    uint32_t request_slots;
    uint32_t live_slots;
};

/* X(name, what happened); one metric each */
#define MAILBOX_COUNTERS(X)                                                                                  \
    X(requests_sent, "requests sent")                                                                        \
    X(requests_refused_credit, "requests refused: too many wait for their reply")                            \
    X(requests_refused_ring, "requests refused: the ring is full")                                           \
    X(replies_sent, "replies sent")                                                                          \
    X(live_sent, "live messages sent")                                                                       \
    X(live_refused, "live messages refused: the destination is marked as lagging")                           \
    X(lagging_taken, "times that this reactor learned that it lags")                                         \
    X(messages_received, "messages given to the handler")                                                    \
    X(wakeups_written, "sleeping peers woken")

struct mailbox_counters {
#define X(name, text) uint64_t name;
    MAILBOX_COUNTERS(X)
#undef X
};

struct mailbox_grid;
struct mailbox;

/* -PARLEY_ERR_BAD_REQUEST (sizes), -PARLEY_ERR_NOMEM, -PARLEY_ERR_IO (no eventfd).
 * Owns: the caller destroys the grid after every reactor has stopped; messages still inside are forgotten. */
PARLEY_MUST_USE int mailbox_grid_create(const struct mailbox_options *options, struct mailbox_grid **out);
void mailbox_grid_destroy(struct mailbox_grid **grid);
/* Owns: the grid. */
struct mailbox *mailbox_grid_at(struct mailbox_grid *grid, uint16_t index);

/* The calling thread owns the mailbox from now on. */
void mailbox_bind(struct mailbox *box);
uint16_t mailbox_index(const struct mailbox *box);

/* `to` is another reactor: on the same core one calls. */
PARLEY_MUST_USE int mailbox_send_request(struct mailbox *box, uint16_t to,
                                         const struct mailbox_message *message);
PARLEY_MUST_USE int mailbox_send_live(struct mailbox *box, uint16_t to,
                                      const struct mailbox_message *message);
/* Answers one request of `to`; asserts that one is owed. */
void mailbox_send_reply(struct mailbox *box, uint16_t to, const struct mailbox_message *message);
/* Requests that may be sent to `to` before credits run out, and requests of `to` not yet answered. */
uint32_t mailbox_credits(const struct mailbox *box, uint16_t to);
uint32_t mailbox_owed(const struct mailbox *box, uint16_t to);

/* Wakes the peers that were sent to since the last flush and sleep. Once a turn, before sleeping. */
void mailbox_flush(struct mailbox *box);
/* Hands over what had arrived when it began; at most the rings' slots. Returns how many messages. */
uint32_t mailbox_drain(struct mailbox *box, const struct mailbox_handler *handler);
/* Reads and clears the mark that `from` has set. Clear first, then catch up: a later loss sets it again. */
PARLEY_MUST_USE bool mailbox_take_lagging(struct mailbox *box, uint16_t from);

/* Before blocking on mailbox_wake_fd: true when nothing is there and every later send will write the eventfd.
 * False: drain again. After waking: mailbox_awake. */
PARLEY_MUST_USE bool mailbox_prepare_sleep(struct mailbox *box);
void mailbox_awake(struct mailbox *box);
/* A non-blocking eventfd. Owns: the grid. */
int mailbox_wake_fd(const struct mailbox *box);
/* From any thread: makes the eventfd readable, asleep or not. */
void mailbox_wake(struct mailbox *box);

/* From any thread: each value was true a moment ago. */
void mailbox_counters_read(const struct mailbox *box, struct mailbox_counters *out);

#endif

/* Invariants:
 * 1. For each pair: credits of A at B + requests of A in the ring or owed by B + replies of B in the ring
 *    = request_slots = slots of the reply ring. So B finds a free reply slot for whatever it owes.
 *    A gets the credit back when it takes the reply out of the ring, before its handler runs.
 * 2. No lost wake-up. A sender writes a ring, passes a full fence, then reads `sleeping`; a receiver writes
 *    `sleeping`, passes a full fence, then reads the rings. Whatever the order, one of them sees the other.
 * 3. A mark of lagging is written like a message: before the fence. The refusal may race with a drain that
 *    empties the ring, so the receiver could otherwise fall asleep over it.
 */
#include "src/reactor/mailbox.h"
#include "src/reactor/ring_queue.h"
#include "src/base/error.h"
#include "src/base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { MAILBOX_MAGIC = 0x4d424f58, LINE_BYTES = 64 };

_Static_assert(sizeof(struct mailbox_message) == sizeof(struct ring_slot), "a message is a slot");
_Static_assert(RING_QUEUE_SLOT_COUNT_MAX <= UINT32_MAX / 2, "credits fit");

/* What one mailbox knows about one peer. Rings are named by their receiver: `in` is drained here. */
struct mailbox_peer {
    struct ring_queue *in[MAILBOX_LANE_COUNT];
    uint32_t credits;     /* requests that this mailbox may still send to the peer */
    uint32_t owed;        /* replies that it owes to the peer */
    bool touched;         /* written to since the last flush */
    _Atomic bool lagging; /* set by the peer: it lost live messages for this mailbox */
};

struct mailbox {
    uint32_t magic;
    uint16_t index;
    bool bound;
    pthread_t thread;
    int wake_fd;
    struct mailbox_grid *grid;
    struct mailbox_peer *peers; /* [reactor_count]; the own one is unused */
    bool touched;               /* some peer is */
    /* Peers read it once a turn; it must not share a line with what the owner writes all the time. */
    char pad_before[LINE_BYTES];
    _Atomic bool sleeping;
    char pad_after[LINE_BYTES];
    _Atomic uint64_t counters[sizeof(struct mailbox_counters) / sizeof(uint64_t)];
};

struct mailbox_grid {
    struct mailbox_options options;
    struct mailbox *boxes; /* [reactor_count] */
};

#define COUNT(box, name) count_one((box), offsetof(struct mailbox_counters, name) / sizeof(uint64_t))

/* One writer, so load and store suffice; atomic only because metrics read it from elsewhere. */
static void count_one(struct mailbox *box, size_t at)
{
    uint64_t value = atomic_load_explicit(&box->counters[at], memory_order_relaxed);
    atomic_store_explicit(&box->counters[at], value + 1, memory_order_relaxed);
}

/* The builtin, not atomic_thread_fence: gcc refuses the latter under ThreadSanitizer, which cannot model it.
 * It need not: the fence orders atomics only, data is published by the rings' own release and acquire. */
static void full_fence(void)
{
    __sync_synchronize();
}

static void check(const struct mailbox *box)
{
    parley_assert(box->magic == MAILBOX_MAGIC && box->bound && pthread_equal(box->thread, pthread_self()));
}

static struct mailbox_peer *peer_of(const struct mailbox *box, uint16_t index)
{
    parley_assert(index < box->grid->options.reactor_count && index != box->index);
    return &box->peers[index];
}

static int make_peers(struct mailbox_grid *grid, struct mailbox *box)
{
    const struct mailbox_options *options = &grid->options;
    box->peers = memory_zalloc(options->reactor_count * sizeof *box->peers);
    if (!box->peers)
        return -PARLEY_ERR_NOMEM;
    for (uint16_t i = 0; i < options->reactor_count; i++) {
        struct mailbox_peer *peer = &box->peers[i];
        peer->credits = options->request_slots;
        for (int lane = 0; lane < MAILBOX_LANE_COUNT && i != box->index; lane++) {
            uint32_t slots = lane == MAILBOX_LIVE ? options->live_slots : options->request_slots;
            int err = ring_queue_create(slots, &peer->in[lane]);
            if (err)
                return err;
        }
    }
    return 0;
}

int mailbox_grid_create(const struct mailbox_options *options, struct mailbox_grid **out)
{
    if (options->reactor_count == 0 || options->reactor_count > MAILBOX_REACTOR_COUNT_MAX)
        return -PARLEY_ERR_BAD_REQUEST;
    int err = -PARLEY_ERR_NOMEM;
    struct mailbox_grid *grid = memory_zalloc(sizeof *grid);
    if (!grid)
        return err;
    grid->options = *options;
    grid->boxes = memory_zalloc(options->reactor_count * sizeof *grid->boxes);
    if (!grid->boxes)
        goto fail;
    for (uint16_t i = 0; i < options->reactor_count; i++) {
        grid->boxes[i].magic = MAILBOX_MAGIC;
        grid->boxes[i].index = i;
        grid->boxes[i].grid = grid;
        grid->boxes[i].wake_fd = -1;
    }
    for (uint16_t i = 0; i < options->reactor_count; i++) {
        struct mailbox *box = &grid->boxes[i];
        err = make_peers(grid, box);
        if (err)
            goto fail;
        err = -PARLEY_ERR_IO;
        box->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (box->wake_fd < 0)
            goto fail;
    }
    *out = grid;
    return 0;
fail:
    mailbox_grid_destroy(&grid);
    return err;
}

static void drop_box(struct mailbox *box, uint16_t reactor_count)
{
    for (uint16_t i = 0; box->peers && i < reactor_count; i++)
        for (int lane = 0; lane < MAILBOX_LANE_COUNT; lane++)
            ring_queue_destroy(&box->peers[i].in[lane]);
    memory_free(box->peers);
    if (box->wake_fd >= 0)
        close(box->wake_fd);
    box->magic = 0;
}

void mailbox_grid_destroy(struct mailbox_grid **grid)
{
    if (!*grid)
        return;
    for (uint16_t i = 0; (*grid)->boxes && i < (*grid)->options.reactor_count; i++)
        drop_box(&(*grid)->boxes[i], (*grid)->options.reactor_count);
    memory_free((*grid)->boxes);
    memory_free(*grid);
    *grid = NULL;
}

struct mailbox *mailbox_grid_at(struct mailbox_grid *grid, uint16_t index)
{
    parley_assert(index < grid->options.reactor_count);
    return &grid->boxes[index];
}

void mailbox_bind(struct mailbox *box)
{
    parley_assert(box->magic == MAILBOX_MAGIC);
    box->thread = pthread_self();
    box->bound = true;
}

uint16_t mailbox_index(const struct mailbox *box)
{
    return box->index;
}

/* The peer's side of the pair: the rings that it drains, and its mark of lagging behind us. */
static struct mailbox_peer *far_side(const struct mailbox *box, uint16_t to)
{
    return peer_of(&box->grid->boxes[to], box->index);
}

static int push(struct mailbox *box, uint16_t to, enum mailbox_lane lane,
                const struct mailbox_message *message)
{
    struct mailbox_message stamped = *message;
    stamped.from = box->index;
    stamped.lane = (uint8_t)lane;
    struct ring_slot slot;
    memcpy(&slot, &stamped, sizeof slot);
    return ring_queue_push(far_side(box, to)->in[lane], &slot);
}

static void touch(struct mailbox *box, struct mailbox_peer *peer)
{
    peer->touched = true;
    box->touched = true;
}

int mailbox_send_request(struct mailbox *box, uint16_t to, const struct mailbox_message *message)
{
    check(box);
    struct mailbox_peer *peer = peer_of(box, to);
    if (peer->credits == 0) {
        COUNT(box, requests_refused_credit);
        return -PARLEY_ERR_FULL;
    }
    int err = push(box, to, MAILBOX_REQUEST, message);
    if (err) {
        COUNT(box, requests_refused_ring);
        return err;
    }
    peer->credits--;
    touch(box, peer);
    COUNT(box, requests_sent);
    return 0;
}

int mailbox_send_live(struct mailbox *box, uint16_t to, const struct mailbox_message *message)
{
    check(box);
    int err = push(box, to, MAILBOX_LIVE, message);
    if (err) {
        atomic_store_explicit(&far_side(box, to)->lagging, true, memory_order_release);
        COUNT(box, live_refused);
    } else {
        COUNT(box, live_sent);
    }
    touch(box, peer_of(box, to));
    return err;
}

void mailbox_send_reply(struct mailbox *box, uint16_t to, const struct mailbox_message *message)
{
    check(box);
    struct mailbox_peer *peer = peer_of(box, to);
    parley_assert(peer->owed > 0);
    int err = push(box, to, MAILBOX_REPLY, message);
    parley_assert(!err); /* invariant 1 */
    peer->owed--;
    touch(box, peer);
    COUNT(box, replies_sent);
}

uint32_t mailbox_credits(const struct mailbox *box, uint16_t to)
{
    check(box);
    return peer_of(box, to)->credits;
}

uint32_t mailbox_owed(const struct mailbox *box, uint16_t to)
{
    check(box);
    return peer_of(box, to)->owed;
}

void mailbox_wake(struct mailbox *box)
{
    uint64_t one = 1;
    ssize_t wrote;
    do
        wrote = write(box->wake_fd, &one, sizeof one);
    while (wrote < 0 && errno == EINTR);
    /* EAGAIN: the counter is at its end, so the eventfd is readable already. */
    parley_assert(wrote == (ssize_t)sizeof one || errno == EAGAIN);
}

void mailbox_flush(struct mailbox *box)
{
    check(box);
    if (!box->touched)
        return;
    box->touched = false;
    full_fence();
    for (uint16_t i = 0; i < box->grid->options.reactor_count; i++) {
        if (!box->peers[i].touched)
            continue;
        box->peers[i].touched = false;
        struct mailbox *to = &box->grid->boxes[i];
        if (!atomic_load_explicit(&to->sleeping, memory_order_relaxed))
            continue;
        /* Whoever takes the flag down writes; the others need not. */
        if (atomic_exchange_explicit(&to->sleeping, false, memory_order_acq_rel)) {
            mailbox_wake(to);
            COUNT(box, wakeups_written);
        }
    }
}

static void settle(struct mailbox_peer *peer, enum mailbox_lane lane, uint32_t request_slots)
{
    if (lane == MAILBOX_REPLY) {
        peer->credits++;
        parley_assert(peer->credits <= request_slots);
    } else if (lane == MAILBOX_REQUEST) {
        peer->owed++;
        parley_assert(peer->owed <= request_slots);
    }
}

static void tell_lagging(struct mailbox *box, uint16_t from, const struct mailbox_handler *handler)
{
    if (handler->lagging && mailbox_take_lagging(box, from))
        handler->lagging(handler->owner, from);
}

static uint32_t drain_lane(struct mailbox *box, uint16_t from, enum mailbox_lane lane,
                           const struct mailbox_handler *handler)
{
    struct mailbox_peer *peer = peer_of(box, from);
    uint32_t count = ring_queue_count(peer->in[lane]); /* what comes meanwhile waits: a drain ends */
    if (lane == MAILBOX_LIVE)
        tell_lagging(box, from, handler); /* counted first: a loss is told before what was sent behind it */
    for (uint32_t i = 0; i < count; i++) {
        struct ring_slot slot;
        bool popped = ring_queue_pop(peer->in[lane], &slot);
        parley_assert(popped);
        struct mailbox_message message;
        memcpy(&message, &slot, sizeof message);
        settle(peer, lane, box->grid->options.request_slots);
        COUNT(box, messages_received);
        handler->message(handler->owner, &message);
    }
    return count;
}

uint32_t mailbox_drain(struct mailbox *box, const struct mailbox_handler *handler)
{
    /* Replies first: they free what requests hold. */
    static const enum mailbox_lane order[] = {MAILBOX_REPLY, MAILBOX_REQUEST, MAILBOX_LIVE};
    check(box);
    uint32_t count = 0;
    for (uint16_t from = 0; from < box->grid->options.reactor_count; from++) {
        if (from == box->index)
            continue;
        for (size_t i = 0; i < PARLEY_ARRAY_COUNT(order); i++)
            count += drain_lane(box, from, order[i], handler);
        tell_lagging(box, from, handler);
    }
    return count;
}

bool mailbox_take_lagging(struct mailbox *box, uint16_t from)
{
    check(box);
    struct mailbox_peer *peer = peer_of(box, from);
    if (!atomic_load_explicit(&peer->lagging, memory_order_relaxed))
        return false;
    /* Acquire: what the sender did before it was refused is visible to the catching up. */
    bool lagged = atomic_exchange_explicit(&peer->lagging, false, memory_order_acq_rel);
    if (lagged)
        COUNT(box, lagging_taken);
    return lagged;
}

static bool anything_arrived(struct mailbox *box)
{
    for (uint16_t from = 0; from < box->grid->options.reactor_count; from++) {
        struct mailbox_peer *peer = &box->peers[from];
        if (from == box->index)
            continue;
        if (atomic_load_explicit(&peer->lagging, memory_order_relaxed))
            return true;
        for (int lane = 0; lane < MAILBOX_LANE_COUNT; lane++)
            if (ring_queue_count(peer->in[lane]))
                return true;
    }
    return false;
}

bool mailbox_prepare_sleep(struct mailbox *box)
{
    check(box);
    parley_assert(!box->touched); /* else a peer sleeps over our message while we sleep */
    atomic_store_explicit(&box->sleeping, true, memory_order_relaxed);
    full_fence();
    if (!anything_arrived(box))
        return true;
    atomic_store_explicit(&box->sleeping, false, memory_order_relaxed);
    return false;
}

void mailbox_awake(struct mailbox *box)
{
    check(box);
    atomic_store_explicit(&box->sleeping, false, memory_order_relaxed);
}

int mailbox_wake_fd(const struct mailbox *box)
{
    return box->wake_fd;
}

void mailbox_counters_read(const struct mailbox *box, struct mailbox_counters *out)
{
    uint64_t values[PARLEY_ARRAY_COUNT(box->counters)] = {0};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(values); i++)
        values[i] = atomic_load_explicit(&box->counters[i], memory_order_relaxed);
    memcpy(out, values, sizeof *out);
}

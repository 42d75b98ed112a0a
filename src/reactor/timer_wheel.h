/* src/reactor/timer_wheel.h: hierarchical timer wheel of one reactor.
 *
 * Why:    each connection carries timers; adding, moving and cancelling one must cost the same with a
 * million. Shape:  add -> [11 levels of 64 slots, 1 ms each on the lowest] -> advance -> fire Thread: the
 * creating reactor only. Owner:  a timer is memory of its user, embedded in his struct; it must be cancelled
 * before that is freed. Errors: none: nothing is allocated after create.
 */
#ifndef PARLEY_REACTOR_TIMER_WHEEL_H
#define PARLEY_REACTOR_TIMER_WHEEL_H

#include "src/base/base.h"

struct wheel_link {
    struct wheel_link *next, *prev;
};

struct wheel_timer;
/* The timer is no longer pending and may be added again or freed. */
typedef void wheel_fire_fn(struct wheel_timer *timer);

struct wheel_timer {
    struct wheel_link link; /* first: the wheel's lists lead back to the timer */
    uint64_t deadline_ms;
    wheel_fire_fn *fire;
    uint32_t magic;
    uint8_t level, slot;
};

struct timer_wheel;

PARLEY_MUST_USE int timer_wheel_create(uint64_t now_ms, struct timer_wheel **out);
/* Pending timers are forgotten, not fired. */
void timer_wheel_destroy(struct timer_wheel **wheel);

void wheel_timer_init(struct wheel_timer *timer, wheel_fire_fn *fire);
bool wheel_timer_pending(const struct wheel_timer *timer);

/* A pending timer is moved. A deadline that has passed fires in the next advance, never within this call. */
void timer_wheel_add(struct timer_wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ms);
/* Nothing happens when it is not pending. */
void timer_wheel_cancel(struct timer_wheel *wheel, struct wheel_timer *timer);

/* Fires what is due at `now_ms`, in order of deadline (equal ones in any order), in at most `work_max` steps
 * (a timer fired or moved down one level). The rest is due at once: ask next_deadline. A time that lies
 * behind the wheel's is taken for the wheel's. Returns how many fired. */
uint32_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms, uint32_t work_max);
/* No timer fires before this moment, and at it there is work to do: a timer is due or moves down a level.
 * UINT64_MAX when none is pending. */
uint64_t timer_wheel_next_deadline_ms(const struct timer_wheel *wheel);
uint32_t timer_wheel_count(const struct timer_wheel *wheel);

#endif

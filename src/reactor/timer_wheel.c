/* Invariants (times are written as 11 digits of 6 bits; `now` is the wheel's time):
 * 1. A timer in slot s of level L has a deadline that equals now in all digits above L and has digit s there;
 *    s is greater than now's digit at L. So every deadline on level L lies before every one on L + 1, and
 *    within a level the lowest occupied slot comes first.
 * 2. A set bit in occupied[L] means a list that is not empty, and the reverse.
 * 3. `due` holds deadlines <= now. `sinking` holds one slot's former timers, deadlines >= now; now stays
 * where it is until both lists are empty. That is what lets advance stop after any step.
 */
#include "src/reactor/timer_wheel.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum {
    SLOT_BITS = 6,
    SLOT_COUNT = 1 << SLOT_BITS,
    LEVEL_COUNT = (64 + SLOT_BITS - 1) / SLOT_BITS,
    TIMER_MAGIC = 0x54494d52,
    TIMER_WHEEL_MAGIC = 0x57484545
};

struct timer_wheel {
    uint32_t magic;
    uint32_t count;
    uint64_t now_ms;
    uint64_t occupied[LEVEL_COUNT];
    struct wheel_link due, sinking;
    struct wheel_link slots[LEVEL_COUNT][SLOT_COUNT];
};

static void list_init(struct wheel_link *list)
{
    list->next = list->prev = list;
}

static bool list_empty(const struct wheel_link *list)
{
    return list->next == list;
}

static void list_append(struct wheel_link *list, struct wheel_link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static void list_unlink(struct wheel_link *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next = link->prev = NULL;
}

/* `to` is empty; afterwards `from` is. */
static void list_move(struct wheel_link *to, struct wheel_link *from)
{
    to->next = from->next;
    to->prev = from->prev;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

static struct wheel_timer *timer_of(struct wheel_link *link)
{
    struct wheel_timer *timer = (struct wheel_timer *)link;
    parley_assert(timer->magic == TIMER_MAGIC);
    return timer;
}

int timer_wheel_create(uint64_t now_ms, struct timer_wheel **out)
{
    struct timer_wheel *wheel = memory_zalloc(sizeof *wheel);
    if (!wheel)
        return -PARLEY_ERR_NOMEM;
    wheel->magic = TIMER_WHEEL_MAGIC;
    wheel->now_ms = now_ms;
    list_init(&wheel->due);
    list_init(&wheel->sinking);
    for (unsigned level = 0; level < LEVEL_COUNT; level++)
        for (unsigned slot = 0; slot < SLOT_COUNT; slot++)
            list_init(&wheel->slots[level][slot]);
    *out = wheel;
    return 0;
}

void timer_wheel_destroy(struct timer_wheel **wheel)
{
    if (!*wheel)
        return;
    parley_assert((*wheel)->magic == TIMER_WHEEL_MAGIC);
    (*wheel)->magic = 0;
    memory_free(*wheel);
    *wheel = NULL;
}

void wheel_timer_init(struct wheel_timer *timer, wheel_fire_fn *fire)
{
    *timer = (struct wheel_timer){.fire = fire, .magic = TIMER_MAGIC};
}

bool wheel_timer_pending(const struct wheel_timer *timer)
{
    return timer->link.next != NULL;
}

/* By invariant 1 the level is the highest digit in which deadline and now differ. */
static void place(struct timer_wheel *wheel, struct wheel_timer *timer)
{
    if (timer->deadline_ms <= wheel->now_ms) {
        list_append(&wheel->due, &timer->link);
        return;
    }
    unsigned highest_bit = 63u - (unsigned)__builtin_clzll(timer->deadline_ms ^ wheel->now_ms);
    unsigned level = highest_bit / SLOT_BITS;
    unsigned slot = (unsigned)(timer->deadline_ms >> (level * SLOT_BITS)) & (SLOT_COUNT - 1);
    timer->level = (uint8_t)level;
    timer->slot = (uint8_t)slot;
    wheel->occupied[level] |= (uint64_t)1 << slot;
    list_append(&wheel->slots[level][slot], &timer->link);
}

/* The slot that the timer was last placed in may no longer be its list; invariant 2 holds either way. */
static void take_out(struct timer_wheel *wheel, struct wheel_timer *timer)
{
    list_unlink(&timer->link);
    if (list_empty(&wheel->slots[timer->level][timer->slot]))
        wheel->occupied[timer->level] &= ~((uint64_t)1 << timer->slot);
}

void timer_wheel_add(struct timer_wheel *wheel, struct wheel_timer *timer, uint64_t deadline_ms)
{
    parley_assert(wheel->magic == TIMER_WHEEL_MAGIC && timer->magic == TIMER_MAGIC);
    if (wheel_timer_pending(timer))
        take_out(wheel, timer);
    else
        wheel->count++;
    timer->deadline_ms = deadline_ms;
    place(wheel, timer);
}

void timer_wheel_cancel(struct timer_wheel *wheel, struct wheel_timer *timer)
{
    parley_assert(wheel->magic == TIMER_WHEEL_MAGIC && timer->magic == TIMER_MAGIC);
    if (!wheel_timer_pending(timer))
        return;
    take_out(wheel, timer);
    wheel->count--;
}

/* The first occupied slot and the moment it begins; false when the wheel is empty. */
static bool first_slot(const struct timer_wheel *wheel, unsigned *level, unsigned *slot, uint64_t *begin_ms)
{
    for (unsigned at = 0; at < LEVEL_COUNT; at++) {
        if (!wheel->occupied[at])
            continue;
        unsigned shift = at * SLOT_BITS;
        uint64_t below = shift + SLOT_BITS < 64 ? ((uint64_t)1 << (shift + SLOT_BITS)) - 1 : UINT64_MAX;
        *level = at;
        *slot = (unsigned)__builtin_ctzll(wheel->occupied[at]);
        *begin_ms = (wheel->now_ms & ~below) | (uint64_t)*slot << shift;
        return true;
    }
    return false;
}

/* Moves the wheel to the next occupied slot, or to now_ms when that comes first. False: nothing is left. */
static bool turn(struct timer_wheel *wheel, uint64_t now_ms)
{
    unsigned level, slot;
    uint64_t begin_ms;
    if (!first_slot(wheel, &level, &slot, &begin_ms) || begin_ms > now_ms) {
        if (now_ms > wheel->now_ms)
            wheel->now_ms = now_ms;
        return false;
    }
    wheel->now_ms = begin_ms;
    wheel->occupied[level] &= ~((uint64_t)1 << slot);
    /* On the lowest level a slot is one millisecond: all of it is due. */
    list_move(level == 0 ? &wheel->due : &wheel->sinking, &wheel->slots[level][slot]);
    return true;
}

uint32_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms, uint32_t work_max)
{
    parley_assert(wheel->magic == TIMER_WHEEL_MAGIC);
    uint32_t fired = 0;
    for (uint32_t work = 0; work < work_max;) {
        if (!list_empty(&wheel->sinking)) {
            struct wheel_timer *timer = timer_of(wheel->sinking.next);
            list_unlink(&timer->link);
            place(wheel, timer);
            work++;
        } else if (!list_empty(&wheel->due)) {
            struct wheel_timer *timer = timer_of(wheel->due.next);
            list_unlink(&timer->link);
            wheel->count--;
            fired++;
            work++;
            timer->fire(timer);
        } else if (!turn(wheel, now_ms)) {
            break;
        }
    }
    return fired;
}

uint64_t timer_wheel_next_deadline_ms(const struct timer_wheel *wheel)
{
    unsigned level, slot;
    uint64_t begin_ms;
    if (!list_empty(&wheel->due) || !list_empty(&wheel->sinking))
        return wheel->now_ms;
    return first_slot(wheel, &level, &slot, &begin_ms) ? begin_ms : UINT64_MAX;
}

uint32_t timer_wheel_count(const struct timer_wheel *wheel)
{
    return wheel->count;
}

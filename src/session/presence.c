/* Invariants:
 * 1. `devices` has all devices in the order of their last heartbeats: the first expires first.
 * 2. `gone` has exactly the users without a device, in the order in which they went.
 * 3. A user is in `news` when his state may differ from what was told. Nobody in `news` is forgotten.
 */
#include "src/session/presence.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"

enum { USERS_OF_A_BUCKET = 4 };

/* A ring through its members, which begins and ends at the head. */
struct link {
    struct link *next, *back;
};

struct presence_user;

struct presence_device {
    struct link all; /* first */
    struct presence_user *user;
    struct presence_device *next; /* of the user */
    uint64_t tag, beat_ms;
    enum presence_state state;
};

struct presence_user {
    struct link gone; /* first */
    struct presence_user *next, *next_news;
    struct id16 hash;
    struct presence_device *devices;
    uint64_t seen_ms, told_ms; /* wall; monotonic, 0: never */
    uint8_t told, len;
    bool has_news;
    uint8_t id[];
};

struct presence {
    struct presence_options options;
    struct presence_user **buckets; /* NULL before the first user */
    uint32_t bucket_count, user_count, news_count;
    uint64_t version;
    struct link devices, gone;
    struct presence_user *news, **news_tail;
};

/* -- rings */

static void ring_init(struct link *head)
{
    head->next = head->back = head;
}

static bool ring_empty(const struct link *head)
{
    return head->next == head;
}

static void ring_take(struct link *l)
{
    l->next->back = l->back;
    l->back->next = l->next;
    ring_init(l);
}

static void ring_put(struct link *head, struct link *l)
{
    l->back = head->back;
    l->next = head;
    head->back->next = l;
    head->back = l;
}

/* -- users */

/* Hashes are keyed already. */
static struct presence_user **place_of(const struct presence *p, const struct id16 *hash)
{
    uint32_t h;
    memcpy(&h, hash->bytes, sizeof h);
    struct presence_user **at = &p->buckets[h & (p->bucket_count - 1)];
    while (*at && !same_id(&(*at)->hash, hash))
        at = &(*at)->next;
    return at;
}

static void forget_user(struct presence *p, struct presence_user *u)
{
    struct presence_user **at = place_of(p, &u->hash);
    parley_assert(*at == u && !u->devices && !u->has_news);
    *at = u->next;
    ring_take(&u->gone);
    p->user_count--;
    memory_free(u);
}

/* Room for one more. Who went first may have news that are not told yet: then nobody is forgotten for now. */
static int make_room(struct presence *p)
{
    if (p->user_count < p->options.users_max)
        return 0;
    struct presence_user *first = (struct presence_user *)p->gone.next;
    if (ring_empty(&p->gone) || first->has_news)
        return -PARLEY_ERR_FULL;
    forget_user(p, first);
    return 0;
}

static int add_user(struct presence *p, const struct id16 *hash, struct span user, struct presence_user **out)
{
    int err = make_room(p);
    if (err)
        return err;
    struct presence_user *u = memory_zalloc(sizeof *u + user.len);
    if (!u)
        return -PARLEY_ERR_NOMEM;
    u->hash = *hash;
    u->len = (uint8_t)user.len;
    memcpy(u->id, user.data, user.len);
    struct presence_user **at = place_of(p, hash);
    u->next = *at;
    *at = u;
    ring_put(&p->gone, &u->gone);
    p->user_count++;
    *out = u;
    return 0;
}

static enum presence_state state_of(const struct presence_user *u)
{
    enum presence_state state = PRESENCE_OFFLINE;
    for (const struct presence_device *d = u->devices; d; d = d->next)
        if (d->state > state)
            state = d->state;
    return state;
}

static void put_news(struct presence *p, struct presence_user *u)
{
    u->has_news = true;
    u->next_news = NULL;
    *p->news_tail = u;
    p->news_tail = &u->next_news;
    p->news_count++;
}

static struct presence_user *pop_news(struct presence *p)
{
    struct presence_user *u = p->news;
    p->news = u->next_news;
    if (!p->news)
        p->news_tail = &p->news;
    p->news_count--;
    u->has_news = false;
    return u;
}

static void changed(struct presence *p, struct presence_user *u)
{
    if (!u->has_news && state_of(u) != (enum presence_state)u->told)
        put_news(p, u);
}

/* -- devices */

static struct presence_device *find_device(const struct presence_user *u, uint64_t tag)
{
    struct presence_device *d = u->devices;
    while (d && d->tag != tag)
        d = d->next;
    return d;
}

static void forget_device(struct presence *p, struct presence_device *d)
{
    struct presence_user *u = d->user;
    struct presence_device **at = &u->devices;
    while (*at != d)
        at = &(*at)->next;
    *at = d->next;
    ring_take(&d->all);
    memory_free(d);
    if (!u->devices)
        ring_put(&p->gone, &u->gone);
}

static struct presence_device *oldest_of_too_many(const struct presence_user *u)
{
    struct presence_device *oldest = u->devices;
    uint32_t count = 0;
    for (struct presence_device *d = u->devices; d; d = d->next, count++)
        if (d->beat_ms < oldest->beat_ms)
            oldest = d;
    return count < PRESENCE_DEVICES_MAX ? NULL : oldest;
}

static struct presence_device *add_device(struct presence_user *u, uint64_t tag)
{
    struct presence_device *d = oldest_of_too_many(u);
    if (!d) {
        d = memory_zalloc(sizeof *d);
        if (!d)
            return NULL;
        ring_init(&d->all);
        d->user = u;
        d->next = u->devices;
        u->devices = d;
    }
    d->tag = tag;
    return d;
}

/* -- what others call */

static int make_buckets(struct presence *p)
{
    if (p->buckets)
        return 0;
    uint32_t count = 1;
    while (count < p->options.users_max / USERS_OF_A_BUCKET)
        count *= 2;
    p->buckets = memory_zalloc(count * sizeof(struct presence_user *));
    p->bucket_count = count;
    return p->buckets ? 0 : -PARLEY_ERR_NOMEM;
}

int presence_beat(struct presence *p, const struct id16 *hash, struct span user, uint64_t tag,
                  enum presence_state state, struct presence_time now)
{
    int err = make_buckets(p);
    if (err)
        return err;
    struct presence_user *u = *place_of(p, hash);
    struct presence_device *d = u ? find_device(u, tag) : NULL;
    if (state == PRESENCE_OFFLINE) {
        if (d) {
            u->seen_ms = now.wall_ms;
            forget_device(p, d);
            changed(p, u);
        }
        return 0;
    }
    if (!u)
        err = add_user(p, hash, user, &u);
    if (!err && !d) {
        d = add_device(u, tag);
        err = d ? 0 : -PARLEY_ERR_NOMEM;
    }
    if (err)
        return err; /* a user without a device is one who went */
    d->state = state;
    d->beat_ms = now.monotonic_ms;
    ring_take(&d->all);
    ring_put(&p->devices, &d->all);
    ring_take(&u->gone);
    u->seen_ms = now.wall_ms;
    changed(p, u);
    return 0;
}

void presence_read(const struct presence *p, const struct id16 *hash, struct presence_view *out)
{
    const struct presence_user *u = p->buckets ? *place_of(p, hash) : NULL;
    *out = (struct presence_view){.version = p->version};
    if (u) {
        out->state = state_of(u);
        out->last_seen_ms = u->seen_ms;
    }
}

static void expire(struct presence *p, uint64_t now_ms)
{
    for (uint32_t i = 0; i < PRESENCE_EXPIRIES_MAX && !ring_empty(&p->devices); i++) {
        struct presence_device *d = (struct presence_device *)p->devices.next;
        struct presence_user *u = d->user;
        if (now_ms - d->beat_ms < p->options.ttl_ms)
            return;
        forget_device(p, d);
        changed(p, u);
    }
}

void presence_step(struct presence *p, uint64_t now_ms)
{
    expire(p, now_ms);
    uint32_t looks = p->news_count < PRESENCE_TELLS_MAX ? p->news_count : PRESENCE_TELLS_MAX;
    for (; looks; looks--) {
        struct presence_user *u = pop_news(p);
        struct presence_view view = {state_of(u), u->seen_ms, 0};
        if (view.state == (enum presence_state)u->told)
            continue; /* a flap: nobody was told of the way there */
        if (u->told_ms && now_ms - u->told_ms < PRESENCE_QUIET_MS) {
            put_news(p, u);
            continue;
        }
        u->told = (uint8_t)view.state;
        u->told_ms = now_ms;
        view.version = ++p->version;
        p->options.tell(p->options.owner, &u->hash, (struct span){u->id, u->len}, &view);
    }
}

bool presence_is_busy(const struct presence *p)
{
    return !ring_empty(&p->devices) || p->news_count;
}

uint32_t presence_user_count(const struct presence *p)
{
    return p->user_count;
}

int presence_create(const struct presence_options *options, struct presence **out)
{
    struct presence *p = memory_zalloc(sizeof *p);
    *out = p;
    if (!p)
        return -PARLEY_ERR_NOMEM;
    p->options = *options;
    ring_init(&p->devices);
    ring_init(&p->gone);
    p->news_tail = &p->news;
    return 0;
}

void presence_destroy(struct presence **presence)
{
    struct presence *p = *presence;
    *presence = NULL;
    if (!p)
        return;
    while (!ring_empty(&p->devices))
        forget_device(p, (struct presence_device *)p->devices.next);
    while (p->news)
        pop_news(p);
    while (!ring_empty(&p->gone))
        forget_user(p, (struct presence_user *)p->gone.next);
    memory_free(p->buckets);
    memory_free(p);
}

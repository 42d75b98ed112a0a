/* Invariants:
 *
 * 1. A directory counts exactly the subscribers that are IN, or whose answer to JOIN or question to LEAVE is under way;
 *    `shared` counts the same, before the answer leaves. So who saw `joined` is seen by every later event.
 * 2. What one reactor sends to another about a key goes by the live lane, in order: parcels, losses, lags. A loss is told in
 *    the place of the lost, or by the mailbox's mark, which is looked at before what came behind it.
 * 3. A pointer in a mailbox message belongs to the message. On a refusal it is still the sender's.
 */
#include "src/session/live.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/session/directory.h"
#include "src/session/subscriber_table.h"

enum live_kind {
    LIVE_JOIN = LIVE_KIND_FIRST, /* request and reply: key 16 bytes, subscriber, topic, error */
    LIVE_LEAVE,                  /* the same */
    LIVE_PARCEL_USERS,           /* parcel, to the directory */
    LIVE_PARCEL_SESSIONS,        /* parcel, from the directory */
    LIVE_FOLLOWERS,              /* message, topic: to those whose key its conversation is */
    LIVE_LAG,                    /* the sender's directory did not hear of all */
    LIVE_LOST                    /* in the place of a parcel for which there was no memory */
};

enum {
    WORD_SUBSCRIBER = 2,
    WORD_MESSAGE = 0,
    WORD_TOPIC = 3,
    WORD_ERROR = 4,
    SESSION_NUMBER_SHIFT = 48,
    BATCH_FIRST = 64
};

/* Recipients of one message, by reactor. */
struct batch {
    struct batch_item {
        const struct id16 *user;
        uint16_t to;
    } * items;
    uint32_t count, max, touched_count;
    uint32_t *counts;             /* [reactor_count] */
    uint16_t *touched;            /* those with a count */
    struct live_parcel **parcels; /* [reactor_count] */
};

struct live_shared {
    _Atomic uint32_t count; /* all subscribers */
    /* Those in each reactor's directory of users. Written when somebody comes or goes, read with every event. */
    _Atomic uint32_t users[];
};

struct live {
    struct live_options options;
    uint16_t self;
    uint64_t last_number;
    struct directory directories[LIVE_TOPIC_COUNT];
    struct subscriber_table tables[LIVE_TOPIC_COUNT];
    struct subscriber *waiting, **waiting_tail;
    bool delivering; /* directories are being walked over: who comes or goes waits for the turn's end */
    struct batch published, looked_up; /* the second is used while the first is walked over */
    uint8_t *text;
    size_t text_room;
};

/* -- batches */

static int batch_init(struct batch *b, uint16_t reactor_count)
{
    b->max = BATCH_FIRST;
    b->items = memory_alloc(b->max * sizeof *b->items);
    b->counts = memory_zalloc(reactor_count * sizeof *b->counts);
    b->touched = memory_alloc(reactor_count * sizeof *b->touched);
    b->parcels = memory_zalloc(reactor_count * sizeof(struct live_parcel *));
    return b->items && b->counts && b->touched && b->parcels ? 0 : -PARLEY_ERR_NOMEM;
}

static void batch_dispose(struct batch *b)
{
    memory_free(b->items);
    memory_free(b->counts);
    memory_free(b->touched);
    memory_free(b->parcels);
}

static int batch_add(struct batch *b, const struct id16 *user, uint16_t to)
{
    if (b->count == b->max) {
        struct batch_item *items = memory_realloc(b->items, 2 * (size_t)b->max * sizeof *items);
        if (!items)
            return -PARLEY_ERR_NOMEM;
        b->items = items;
        b->max *= 2;
    }
    b->items[b->count++] = (struct batch_item){user, to};
    if (b->counts[to]++ == 0)
        b->touched[b->touched_count++] = to;
    return 0;
}

static void batch_reset(struct batch *b)
{
    for (uint32_t i = 0; i < b->touched_count; i++) {
        b->counts[b->touched[i]] = 0;
        b->parcels[b->touched[i]] = NULL;
    }
    b->count = b->touched_count = 0;
}

/* -- losses */

static void send_live_word(struct live *l, uint16_t to, enum live_kind kind)
{
    struct mailbox_message message = {.kind = (uint16_t)kind};
    if (mailbox_send_live(l->options.mailbox, to, &message) != 0)
        return; /* a refusal marks the destination, which is as good */
}

static void lag_all(struct live *l, bool only_of, uint16_t reactor)
{
    const struct subscriber_table *t = &l->tables[LIVE_USER];
    for (uint32_t i = 0; i < t->bucket_count; i++)
        for (struct subscriber *s = t->buckets[i]; s; s = s->next)
            if (!only_of || l->options.reactor_of(l->options.owner, &s->key) == reactor)
                s->ops->lag(s);
}

void live_lagging(struct live *l, uint16_t from)
{
    (void)from; /* whatever it was about: our sessions, or the users in our directory */
    lag_all(l, false, 0);
    for (uint16_t r = 0; r < l->options.reactor_count; r++)
        if (r != l->self && l->directories[LIVE_USER].of_reactor[r])
            send_live_word(l, r, LIVE_LAG);
}

static void lose(struct live *l, uint16_t to)
{
    if (to == l->self)
        live_lagging(l, to);
    else
        send_live_word(l, to, LIVE_LOST);
}

/* -- delivery */

static void deliver(struct live *l, enum live_topic topic, const struct id16 *key, struct live_message *m)
{
    struct subscriber *next;
    bool within = l->delivering;
    l->delivering = true;
    for (struct subscriber *s = subscriber_table_find(&l->tables[topic], key); s; s = next) {
        next = subscriber_table_next(s);
        if (m->session == 0 || s->session != m->session)
            s->ops->deliver(s, m);
    }
    l->delivering = within;
}

static void send_parcel(struct live *l, uint16_t to, enum live_kind kind, struct live_parcel *parcel)
{
    struct mailbox_message message = {.kind = (uint16_t)kind, .body.pointers = {parcel}};
    if (mailbox_send_live(l->options.mailbox, to, &message) != 0)
        live_parcel_destroy(&parcel);
}

/* To the other reactors; the items of this one are the caller's. */
static void send_batch(struct live *l, struct batch *b, struct live_message *m, enum live_kind kind)
{
    for (uint32_t i = 0; i < b->touched_count; i++) {
        uint16_t to = b->touched[i];
        if (to == l->self)
            continue;
        b->parcels[to] = live_parcel_create(m, b->counts[to]);
        if (!b->parcels[to])
            lose(l, to);
    }
    for (uint32_t i = 0; i < b->count; i++) {
        struct live_parcel *parcel = b->parcels[b->items[i].to];
        if (parcel)
            parcel->users[parcel->count++] = *b->items[i].user;
    }
    for (uint32_t i = 0; i < b->touched_count; i++)
        if (b->parcels[b->touched[i]])
            send_parcel(l, b->touched[i], kind, b->parcels[b->touched[i]]);
}

/* The directory's part for one user of this reactor. */
static void look_up(struct live *l, const struct id16 *user, struct live_message *m)
{
    const struct directory_entry *e = directory_find(&l->directories[LIVE_USER], user);
    bool here = false; /* last: who leaves when he is told changes the directory */
    for (; e; e = directory_next(e)) {
        if (e->reactor == l->self)
            here = true;
        else if (batch_add(&l->looked_up, user, e->reactor) != 0)
            lose(l, e->reactor);
    }
    if (here)
        deliver(l, LIVE_USER, user, m);
}

static void send_looked_up(struct live *l, struct live_message *m)
{
    send_batch(l, &l->looked_up, m, LIVE_PARCEL_SESSIONS);
    batch_reset(&l->looked_up);
}

static void send_followers(struct live *l, enum live_topic topic, const struct directory_entry *e,
                           struct live_message *m)
{
    bool here = false;
    for (; e; e = directory_next(e)) {
        if (e->reactor == l->self) {
            here = true;
            continue;
        }
        struct mailbox_message message = {.kind = LIVE_FOLLOWERS};
        message.body.pointers[WORD_MESSAGE] = live_message_take(m);
        message.body.words[WORD_TOPIC] = topic;
        if (mailbox_send_live(l->options.mailbox, e->reactor, &message) != 0) {
            struct live_message *reference = m;
            live_message_release(&reference);
        }
    }
    if (here)
        deliver(l, topic, &m->conversation, m);
}

/* -- publishing */

static bool is_told(enum event_kind kind)
{
    return kind == EVENT_MESSAGE || kind == EVENT_CREATED || kind == EVENT_ADDED || kind == EVENT_REMOVED ||
           kind == EVENT_ROLE || kind == EVENT_RECEIPT;
}

/* In a large conversation only the reader's own sessions hear of what he has read. */
static bool concerns_all(const struct event *event, uint32_t page_count)
{
    return event->kind != EVENT_RECEIPT || page_count == 1;
}

static int place(struct live *l, const struct id16 *user)
{
    uint16_t to = l->options.reactor_of(l->options.owner, user);
    if (atomic_load_explicit(&l->options.shared->users[to], memory_order_relaxed) == 0)
        return 0;
    return batch_add(&l->published, user, to);
}

static int place_members(struct live *l, const struct page_members *members)
{
    int err = 0;
    for (uint32_t i = 0; i < members->count && !err; i++)
        if (member_active(&members->list[i]))
            err = place(l, &members->list[i].hash);
    return err;
}

static struct live_message *encode(struct live *l, const struct event *event, uint64_t session)
{
    size_t room = l->options.room(event);
    if (room > l->text_room) {
        uint8_t *text = memory_realloc(l->text, room);
        if (!text)
            return NULL;
        l->text = text;
        l->text_room = room;
    }
    size_t len = l->options.encode(event, l->text, room);
    return live_message_create(event, session, (struct span){l->text, len});
}

static void send_published(struct live *l, struct live_message *m, const struct directory_entry *followers)
{
    send_batch(l, &l->published, m, LIVE_PARCEL_USERS);
    for (uint32_t i = 0; i < l->published.count; i++)
        if (l->published.items[i].to == l->self)
            look_up(l, l->published.items[i].user, m);
    send_looked_up(l, m);
    send_followers(l, LIVE_CONVERSATION, followers, m);
}

void live_publish(struct live *l, const struct event *event, const struct page *const *pages,
                  uint32_t page_count, bool large, uint64_t session)
{
    struct live_shared *shared = l->options.shared;
    if (atomic_load_explicit(&shared->count, memory_order_relaxed) == 0 || !is_told(event->kind))
        return;
    bool to_all = concerns_all(event, page_count), followed = page_count == 0 && to_all;
    int err = 0;
    for (uint32_t i = 0; i < page_count && to_all && !err; i++)
        err = place_members(l, pages[i]->applied);
    /* Pages are as they are after the event: who was removed is no member any more, and yet is told. */
    if (!err && live_has_target(event) && (followed || !to_all || event->kind == EVENT_REMOVED))
        err = place(l, &event->target_hash);
    const struct directory_entry *followers =
        followed ? directory_find(&l->directories[LIVE_CONVERSATION], &event->conversation) : NULL;
    if (err || l->published.count || followers) {
        struct live_message *m = err ? NULL : encode(l, event, session);
        if (m) {
            m->large = large;
            send_published(l, m, followers);
        } else {
            for (uint16_t r = 0; r < l->options.reactor_count; r++)
                lose(l, r);
        }
        live_message_release(&m);
    }
    batch_reset(&l->published);
}

void live_tell_page(struct live *l, const struct id16 *conversation, const struct page *page,
                    struct span text, uint64_t session)
{
    if (atomic_load_explicit(&l->options.shared->count, memory_order_relaxed) == 0)
        return;
    struct live_message *m = NULL;
    if (place_members(l, page->applied) == 0 && l->published.count)
        m = live_message_passing(conversation, session, text);
    if (m) /* without memory it is not told: it passes */
        send_published(l, m, NULL);
    live_message_release(&m);
    batch_reset(&l->published);
}

void live_tell_watchers(struct live *l, const struct id16 *user, uint64_t version, struct span text)
{
    const struct directory_entry *e = directory_find(&l->directories[LIVE_PRESENCE], user);
    if (!e)
        return;
    struct live_message *m = live_message_passing(user, 0, text);
    if (m) {
        m->id = version;
        send_followers(l, LIVE_PRESENCE, e, m);
    } else {
        for (uint16_t r = 0; r < l->options.reactor_count; r++)
            lose(l, r);
    }
    live_message_release(&m);
}

void live_tell_large(struct live *l, const struct id16 *user, const struct id16 *conversation)
{
    if (!directory_find(&l->directories[LIVE_USER], user))
        return;
    struct live_message *m = live_message_hint(conversation);
    if (m) {
        look_up(l, user, m);
        send_looked_up(l, m);
    } else {
        live_lagging(l, l->self);
    }
    live_message_release(&m);
}

/* -- coming and going */

static int serve(struct live *l, enum live_kind kind, enum live_topic topic, const struct id16 *key,
                 uint16_t reactor)
{
    struct live_shared *shared = l->options.shared;
    if (kind == LIVE_JOIN) {
        int err = directory_add(&l->directories[topic], key, reactor);
        if (err)
            return err;
        atomic_fetch_add_explicit(&shared->count, 1, memory_order_relaxed);
        if (topic == LIVE_USER)
            atomic_fetch_add_explicit(&shared->users[l->self], 1, memory_order_relaxed);
        return 0;
    }
    directory_remove(&l->directories[topic], key, reactor);
    atomic_fetch_sub_explicit(&shared->count, 1, memory_order_relaxed);
    if (topic == LIVE_USER)
        atomic_fetch_sub_explicit(&shared->users[l->self], 1, memory_order_relaxed);
    return 0;
}

static void end(struct subscriber *s)
{
    s->state = SUBSCRIBER_OUT;
    s->ops->gone(s);
}

static void ask(struct live *l, struct subscriber *s);

/* NOLINTNEXTLINE(misc-no-recursion): a join may be answered by one leave, which ends it. */
static void answered(struct live *l, struct subscriber *s, int err)
{
    s->asked = false;
    if (s->state == SUBSCRIBER_LEAVING) {
        end(s);
        return;
    }
    parley_assert(s->state == SUBSCRIBER_JOINING);
    if (err && s->left) {
        end(s);
    } else if (s->left) {
        s->state = SUBSCRIBER_LEAVING;
        ask(l, s);
    } else if (err) {
        s->state = SUBSCRIBER_OUT;
        s->ops->joined(s, err);
    } else {
        s->state = SUBSCRIBER_IN;
        subscriber_table_add(&l->tables[s->topic], s);
        s->ops->joined(s, 0);
    }
}

static void wait_for_turn_end(struct live *l, struct subscriber *s)
{
    s->next_waiting = NULL;
    *l->waiting_tail = s;
    l->waiting_tail = &s->next_waiting;
}

/* Joining or leaving, at the key's reactor. What is refused waits: the answers that make room begin a turn, and at its end
 * it is asked again. */
/* NOLINTNEXTLINE(misc-no-recursion): as above. */
static void ask(struct live *l, struct subscriber *s)
{
    enum live_kind kind = s->state == SUBSCRIBER_JOINING ? LIVE_JOIN : LIVE_LEAVE;
    uint16_t to = l->options.reactor_of(l->options.owner, &s->key);
    if (l->delivering) {
        wait_for_turn_end(l, s);
        return;
    }
    if (to == l->self) {
        answered(l, s, serve(l, kind, (enum live_topic)s->topic, &s->key, l->self));
        return;
    }
    struct mailbox_message message = {.kind = (uint16_t)kind};
    memcpy(message.body.bytes, s->key.bytes, sizeof s->key.bytes);
    message.body.pointers[WORD_SUBSCRIBER] = s;
    message.body.words[WORD_TOPIC] = s->topic;
    s->asked = mailbox_send_request(l->options.mailbox, to, &message) == 0;
    if (!s->asked)
        wait_for_turn_end(l, s);
}

void live_turn_end(struct live *l)
{
    struct subscriber *list = l->waiting;
    l->waiting = NULL;
    l->waiting_tail = &l->waiting;
    /* The first that is refused again ends it: the rest goes behind it as it is. */
    while (list && !l->waiting) {
        struct subscriber *s = list;
        list = s->next_waiting;
        ask(l, s); /* also for who has left meanwhile: the answer ends it */
    }
    if (!list)
        return;
    *l->waiting_tail = list;
    while (*l->waiting_tail)
        l->waiting_tail = &(*l->waiting_tail)->next_waiting;
}

uint64_t live_session_number(struct live *l)
{
    return (uint64_t)l->self << SESSION_NUMBER_SHIFT | ++l->last_number;
}

void live_join(struct live *l, enum live_topic topic, struct subscriber *s)
{
    parley_assert(s->state == SUBSCRIBER_OUT && !s->left);
    s->topic = (uint8_t)topic;
    s->state = SUBSCRIBER_JOINING;
    ask(l, s);
}

void live_leave(struct live *l, struct subscriber *s)
{
    parley_assert(!s->left && s->state != SUBSCRIBER_LEAVING);
    s->left = true;
    if (s->state == SUBSCRIBER_OUT) {
        end(s);
    } else if (s->state == SUBSCRIBER_IN) {
        subscriber_table_remove(&l->tables[s->topic], s);
        s->state = SUBSCRIBER_LEAVING;
        ask(l, s);
    }
}

/* -- the mailbox */

static void registration(struct live *l, const struct mailbox_message *message)
{
    struct mailbox_message reply = *message;
    if (message->lane == MAILBOX_REPLY) {
        answered(l, message->body.pointers[WORD_SUBSCRIBER], (int)(int64_t)message->body.words[WORD_ERROR]);
        return;
    }
    struct id16 key;
    memcpy(key.bytes, message->body.bytes, sizeof key.bytes);
    int err = serve(l, (enum live_kind)message->kind, (enum live_topic)message->body.words[WORD_TOPIC], &key,
                    message->from);
    reply.body.words[WORD_ERROR] = (uint64_t)(int64_t)err;
    mailbox_send_reply(l->options.mailbox, message->from, &reply);
}

static void parcel_arrived(struct live *l, enum live_kind kind, struct live_parcel *parcel)
{
    for (uint32_t i = 0; i < parcel->count; i++) {
        if (kind == LIVE_PARCEL_USERS)
            look_up(l, &parcel->users[i], parcel->message);
        else
            deliver(l, LIVE_USER, &parcel->users[i], parcel->message);
    }
    send_looked_up(l, parcel->message);
    live_parcel_destroy(&parcel);
}

void live_mailbox_message(struct live *l, const struct mailbox_message *message)
{
    struct live_message *m;
    switch ((enum live_kind)message->kind) {
    case LIVE_JOIN:
    case LIVE_LEAVE:
        registration(l, message);
        break;
    case LIVE_PARCEL_USERS:
    case LIVE_PARCEL_SESSIONS:
        parcel_arrived(l, (enum live_kind)message->kind, message->body.pointers[0]);
        break;
    case LIVE_FOLLOWERS:
        m = message->body.pointers[WORD_MESSAGE];
        deliver(l, (enum live_topic)message->body.words[WORD_TOPIC], &m->conversation, m);
        live_message_release(&m);
        break;
    case LIVE_LAG:
        lag_all(l, true, message->from);
        break;
    case LIVE_LOST:
        live_lagging(l, message->from);
        break;
    }
}

/* -- begin and end */

int live_shared_create(uint16_t reactor_count, struct live_shared **out)
{
    *out = memory_zalloc(sizeof **out + reactor_count * sizeof(*out)->users[0]);
    return *out ? 0 : -PARLEY_ERR_NOMEM;
}

void live_shared_destroy(struct live_shared **shared)
{
    memory_free(*shared);
    *shared = NULL;
}

int live_create(const struct live_options *options, struct live **out)
{
    struct live *l = memory_zalloc(sizeof *l);
    if (!l)
        return -PARLEY_ERR_NOMEM;
    l->options = *options;
    l->self = mailbox_index(options->mailbox);
    l->waiting_tail = &l->waiting;
    int err = batch_init(&l->published, options->reactor_count);
    if (!err)
        err = batch_init(&l->looked_up, options->reactor_count);
    for (int i = 0; i < LIVE_TOPIC_COUNT && !err; i++) {
        err = directory_init(&l->directories[i], options->reactor_count);
        if (!err)
            err = subscriber_table_init(&l->tables[i]);
    }
    if (err)
        live_destroy(&l);
    *out = l;
    return err;
}

void live_destroy(struct live **live)
{
    struct live *l = *live;
    *live = NULL;
    if (!l)
        return;
    for (int i = 0; i < LIVE_TOPIC_COUNT; i++) {
        parley_assert(l->tables[i].count == 0);
        directory_dispose(&l->directories[i]);
        subscriber_table_dispose(&l->tables[i]);
    }
    batch_dispose(&l->published);
    batch_dispose(&l->looked_up);
    memory_free(l->text);
    memory_free(l);
}

/* Invariants:
 * 1. A watch is in the session's list from the first question on, so that a removal which comes before the answer ends it.
 * 2. It is freed when it has left (`gone`) and no question is under way.
 * 3. What is told of one subject has rising versions: an answer that a live message overtook is forgotten.
 */
#include "net/chat_watch.h"

#include <string.h>

#include "net/chat_presence.h"
#include "src/base/error.h"
#include "src/base/memory.h"

struct chat_watch {
    struct subscriber subscriber; /* first */
    struct chat_session *session;
    struct chat_watch *next;
    struct id16 conversation;
    uint64_t version;
    bool asking, gone;
    uint8_t user_len;
    uint8_t user[];
};

struct chat_watches {
    struct chat_watch *list;
    uint32_t count; /* in the list, also those that are ending */
};

/* Its texts are the watch's. */
struct watch_question {
    struct shard_request shard;
    struct chat_watch *watch;
};

static struct chat_watch *find(const struct chat_session *s, const struct id16 *user)
{
    struct chat_watch *w = s->watches ? s->watches->list : NULL;
    while (w && (w->subscriber.left || !same_id(&w->subscriber.key, user)))
        w = w->next;
    return w;
}

static void free_if_done(struct chat_watch *w)
{
    struct chat_session *s = w->session;
    if (!w->gone || w->asking)
        return;
    struct chat_watch **at = &s->watches->list;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    memory_free(w);
    if (--s->watches->count)
        return;
    memory_free(s->watches);
    s->watches = NULL;
    chat_session_end_if_done(s);
}

/* Perhaps the last of the watch, and of the session. */
static void end(struct chat_watch *w)
{
    if (!w->subscriber.left)
        live_leave(w->session->door->live, &w->subscriber);
}

/* -- questions */

static void answered(struct shard_request *shard);

static int ask(struct chat_watch *w, enum shard_request_kind kind)
{
    struct chat_session *s = w->session;
    struct request_router *router = &s->door->chat->router;
    struct watch_question *q = memory_zalloc(sizeof *q);
    if (!q)
        return -PARLEY_ERR_NOMEM;
    struct command *c = &q->shard.command;
    q->watch = w;
    q->shard.kind = kind;
    q->shard.owner = q;
    q->shard.answered = answered;
    c->conversation = w->conversation;
    c->service = s->service;
    c->actor = chat_session_user(s);
    c->actor_hash = s->subscriber.key;
    c->target = (struct span){w->user, w->user_len};
    c->target_hash = w->subscriber.key;
    w->asking = true;
    router->submit(router->owner, &q->shard);
    return 0;
}

static void tell_state(struct chat_watch *w, const struct shard_presence *p)
{
    struct presence_view view = chat_presence_view(p);
    uint8_t text[CHAT_PRESENCE_JSON_BYTES];
    if (view.version < w->version)
        return;
    w->version = view.version;
    size_t len = chat_presence_encode(true, (struct span){w->user, w->user_len}, &view, text);
    chat_session_tell(w->session, (struct span){text, len});
}

/* The watch first: who is told may close his socket, which ends all of them. */
static void refuse(struct chat_watch *w, int err)
{
    struct chat_session *s = w->session;
    struct id16 conversation = w->conversation;
    end(w);
    chat_session_tell_error(s, (struct span){0}, &conversation, err, NULL);
}

/* Whatever is called last here may be the end of the watch. */
static void answered(struct shard_request *shard)
{
    struct watch_question *q = shard->owner;
    struct chat_watch *w = q->watch;
    enum shard_request_kind kind = shard->kind;
    struct shard_presence presence = shard->presence;
    int err = shard->error;
    memory_free(q);
    w->asking = false;
    if (w->subscriber.left)
        free_if_done(w);
    else if (err)
        refuse(w, err);
    else if (kind == SHARD_ACQUAINTED)
        live_join(w->session->door->live, LIVE_PRESENCE, &w->subscriber);
    else
        tell_state(w, &presence);
}

/* -- as a subscriber */

static void on_joined(struct subscriber *subscriber, int err)
{
    struct chat_watch *w = (struct chat_watch *)subscriber;
    if (!err)
        err = ask(w, SHARD_PRESENCE);
    if (err)
        refuse(w, err);
}

static void on_deliver(struct subscriber *subscriber, struct live_message *m)
{
    struct chat_watch *w = (struct chat_watch *)subscriber;
    if (m->id < w->version)
        return;
    w->version = m->id;
    chat_session_tell_live(w->session, m);
}

static void on_lag(struct subscriber *subscriber)
{
    (void)subscriber; /* the session is told as its user's subscriber */
}

static void on_gone(struct subscriber *subscriber)
{
    struct chat_watch *w = (struct chat_watch *)subscriber;
    w->gone = true;
    free_if_done(w);
}

/* -- what others ask for */

static uint32_t count_watched(const struct chat_watches *all)
{
    uint32_t count = 0;
    for (const struct chat_watch *w = all->list; w; w = w->next)
        count += !w->subscriber.left;
    return count;
}

int chat_watch(struct chat_session *s, const struct id16 *conversation, struct span user)
{
    static const struct subscriber_ops ops = {on_joined, on_deliver, on_lag, on_gone};
    chat_unwatch(s, user);
    struct chat_watches *all = s->watches;
    if (all && (all->count >= 2 * CHAT_WATCHES_MAX || count_watched(all) >= CHAT_WATCHES_MAX))
        return -PARLEY_ERR_FULL;
    struct chat_watch *w = memory_zalloc(sizeof *w + user.len);
    if (!all)
        all = memory_zalloc(sizeof *all);
    if (!w || !all) {
        memory_free(w);
        if (!s->watches)
            memory_free(all);
        return -PARLEY_ERR_NOMEM;
    }
    s->watches = all;
    struct request_router *router = &s->door->chat->router;
    w->subscriber.ops = &ops;
    w->subscriber.key = router->hash(router->owner, user.data, user.len);
    w->session = s;
    w->conversation = *conversation;
    w->user_len = (uint8_t)user.len;
    memcpy(w->user, user.data, user.len);
    w->next = all->list;
    all->list = w;
    all->count++;
    int err = ask(w, SHARD_ACQUAINTED);
    if (err)
        end(w);
    return err;
}

void chat_unwatch(struct chat_session *s, struct span user)
{
    struct request_router *router = &s->door->chat->router;
    struct id16 key = router->hash(router->owner, user.data, user.len);
    struct chat_watch *w = find(s, &key);
    if (w)
        end(w);
}

void chat_watch_removed(struct chat_session *s, const struct live_message *m)
{
    bool of_his = live_message_targets(m, &s->subscriber.key);
    for (struct chat_watch *w = s->watches ? s->watches->list : NULL, *next; w; w = next) {
        next = w->next;
        if (same_id(&w->conversation, &m->conversation) &&
            (of_his || live_message_targets(m, &w->subscriber.key)))
            end(w);
    }
}

void chat_watch_close(struct chat_session *s)
{
    for (struct chat_watch *w = s->watches ? s->watches->list : NULL, *next; w; w = next) {
        next = w->next;
        end(w);
    }
}

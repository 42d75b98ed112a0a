/* Invariants:
 * 1. A follow is told to the client only while `judged`: after it has joined, the owner has said that he is a member. From
 *    then on a removal comes in order, by itself or as the user's own event, and ends it; or it is lost, as others are, and
 *    with the lag the judgement ends.
 * 2. The question belongs to the shard while `under_way`: only its answer goes on.
 */
#include "net/chat_follow.h"

#include <string.h>

#include "net/chat_resume.h"
#include "net/chat_watch.h"
#include "src/base/error.h"
#include "src/base/memory.h"

struct chat_follow {
    struct subscriber subscriber; /* first */
    struct chat_session *session;
    struct chat_follow *next;
    bool joined, judged, resume_waits;
    /* Since it was asked about, messages were lost: the answer may be from before his removal. */
    bool doubted;
    bool missed; /* something that was not sent */
};

/* What a session asks shards: which conversations are large, then of each followed one whether he is a member. */
struct chat_question {
    struct shard_request shard;
    struct chat_session *session;
    bool under_way, stepping, listed;
};

static struct chat_follow *find(const struct chat_session *s, const struct id16 *conversation)
{
    for (struct chat_follow *f = s->follows; f; f = f->next)
        if (!f->subscriber.left && same_id(&f->subscriber.key, conversation))
            return f;
    return NULL;
}

static void go(struct chat_session *s);

/* -- as a subscriber */

static void on_joined(struct subscriber *subscriber, int err)
{
    struct chat_follow *f = (struct chat_follow *)subscriber;
    struct chat_session *s = f->session;
    struct id16 conversation = subscriber->key;
    bool resume_waits = f->resume_waits;
    f->resume_waits = false;
    f->joined = !err;
    if (err) {
        live_leave(s->door->live, subscriber);
        chat_session_lag(s);
    }
    if (resume_waits)
        chat_resume_followed(s, &conversation, err);
    go(s);
}

static void on_deliver(struct subscriber *subscriber, struct live_message *m)
{
    struct chat_follow *f = (struct chat_follow *)subscriber;
    struct chat_session *s = f->session;
    if (live_message_targets(m, &s->subscriber.key)) { /* he is told as the user that he is */
        if (m->kind == EVENT_REMOVED)
            live_leave(s->door->live, subscriber);
        return;
    }
    if (m->kind == EVENT_REMOVED)
        chat_watch_removed(s, m);
    if (chat_resume_holds(s, m))
        return;
    if (f->judged)
        chat_session_tell_live(s, m);
    else
        f->missed = true;
}

static void on_lag(struct subscriber *subscriber)
{
    (void)subscriber; /* the session is told as its user's subscriber */
}

static void on_gone(struct subscriber *subscriber)
{
    struct chat_follow *f = (struct chat_follow *)subscriber;
    struct chat_session *s = f->session;
    for (struct chat_follow **at = &s->follows; *at; at = &(*at)->next)
        if (*at == f) {
            *at = f->next;
            break;
        }
    s->follow_count--;
    memory_free(f);
    if (s->socket && !s->ready) /* he was removed while he connected: hello waits for one less */
        go(s);
    else
        chat_session_end_if_done(s);
}

static struct chat_follow *begin(struct chat_session *s, const struct id16 *conversation)
{
    static const struct subscriber_ops ops = {on_joined, on_deliver, on_lag, on_gone};
    struct chat_follow *f = s->follow_count < FOLLOWS_MAX ? memory_zalloc(sizeof *f) : NULL;
    if (!f)
        return NULL;
    f->subscriber.ops = &ops;
    f->subscriber.key = *conversation;
    f->subscriber.session = s->subscriber.session;
    f->session = s;
    f->next = s->follows;
    s->follows = f;
    s->follow_count++;
    return f;
}

/* -- the question */

static void submit(struct chat_question *q, enum shard_request_kind kind)
{
    struct request_router *router = &q->session->door->chat->router;
    q->shard.kind = kind;
    q->under_way = true;
    router->submit(router->owner, &q->shard);
}

static void take_list(struct chat_question *q)
{
    struct chat_session *s = q->session;
    const struct shard_page *page = &q->shard.page;
    struct bytes_reader r = bytes_reader_of(page->entries, page->len);
    for (uint32_t i = 0; i < page->count && s->socket; i++) {
        struct id16 conversation = bytes_get_id16(&r);
        bytes_get_u64(&r);
        if (find(s, &conversation))
            continue;
        struct chat_follow *f = begin(s, &conversation);
        if (!f) {
            chat_session_lag(s);
            break;
        }
        live_join(s->door->live, LIVE_CONVERSATION, &f->subscriber);
    }
    q->listed = !page->newer;
    q->shard.list_after = q->shard.list_next;
    memory_free(q->shard.page.entries);
    q->shard.page = (struct shard_page){0};
}

static void take_judgement(struct chat_question *q)
{
    struct chat_session *s = q->session;
    struct chat_follow *f = find(s, &q->shard.command.conversation);
    int err = q->shard.error;
    bool no_member =
        err == -PARLEY_ERR_NOT_FOUND || err == -PARLEY_ERR_NOT_MEMBER || (!err && !q->shard.summary.role);
    if (!f || f->judged || f->doubted)
        return;
    f->judged = !err && !no_member;
    bool lag = f->judged ? f->missed : !no_member; /* perhaps he is one: when he resumes, it is tried again */
    f->missed = false;
    if (!f->judged)
        live_leave(s->door->live, &f->subscriber);
    if (lag)
        chat_session_lag(s);
}

static void answered(struct shard_request *shard)
{
    struct chat_question *q = shard->owner;
    struct chat_session *s = q->session;
    bool within =
        q->stepping; /* a join that is answered at once must not ask with a question that is being read */
    q->under_way = false;
    q->stepping = true;
    if (!s->socket) {
        memory_free(shard->page.entries);
        shard->page = (struct shard_page){0};
    } else if (shard->kind == SHARD_LARGE && shard->error) {
        q->listed = true; /* closing, or overloaded: he comes again, or resumes */
        chat_session_lag(s);
    } else if (shard->kind == SHARD_LARGE) {
        take_list(q);
    } else {
        take_judgement(q);
    }
    q->stepping = within;
    go(s);
}

static void end_question(struct chat_session *s)
{
    memory_free(s->question);
    s->question = NULL;
}

/* Asks the next thing; false: there is none. */
static bool step(struct chat_session *s)
{
    struct chat_question *q = s->question;
    bool waits = false;
    if (!q->listed) {
        submit(q, SHARD_LARGE);
        return true;
    }
    for (struct chat_follow *f = s->follows; f; f = f->next) {
        if (f->joined && !f->judged && !f->subscriber.left) {
            q->shard.command.conversation = f->subscriber.key;
            f->doubted = false;
            submit(q, SHARD_CONVERSATION);
            return true;
        }
        waits |= !f->joined && !f->subscriber.left;
    }
    if (!waits)
        chat_session_following(s);
    return false;
}

/* Without memory the session ends. */
static bool make_question(struct chat_session *s)
{
    struct chat_question *q = memory_zalloc(sizeof *q);
    if (!q) {
        ws_socket_close(s->socket, WS_CODE_TRY_LATER);
        return false;
    }
    q->session = s;
    q->listed = true;
    q->shard.owner = q;
    q->shard.answered = answered;
    q->shard.command.actor = chat_session_user(s);
    q->shard.command.actor_hash = s->subscriber.key;
    s->question = q;
    return true;
}

/* Answers may be here within submit: they must not begin a second walk. */
static void go(struct chat_session *s)
{
    if (s->socket && !s->question && !make_question(s))
        return;
    struct chat_question *q = s->question;
    if (!q || q->stepping || q->under_way)
        return;
    q->stepping = true;
    while (s->socket && !q->under_way && step(s))
        ;
    q->stepping = false;
    if (!q->under_way)
        end_question(s);
    chat_session_end_if_done(s);
}

/* -- what others ask for */

void chat_follow_all(struct chat_session *s)
{
    if (!make_question(s))
        return;
    s->question->listed = false;
    go(s);
}

void chat_follow(struct chat_session *s, const struct id16 *conversation, bool joined_now)
{
    struct chat_follow *f = find(s, conversation);
    if (f)
        return;
    f = begin(s, conversation);
    if (!f) {
        chat_session_lag(s);
        return;
    }
    f->missed = joined_now;
    live_join(s->door->live, LIVE_CONVERSATION, &f->subscriber);
}

int chat_follow_for_resume(struct chat_session *s, const struct id16 *conversation)
{
    struct chat_follow *f = find(s, conversation);
    if (f && f->joined)
        return 0;
    bool is_new = !f;
    if (is_new)
        f = begin(s, conversation);
    if (!f)
        return -PARLEY_ERR_FULL;
    f->resume_waits = true;
    if (is_new)
        live_join(s->door->live, LIVE_CONVERSATION, &f->subscriber);
    return -PARLEY_ERR_AGAIN;
}

void chat_follow_doubt(struct chat_session *s)
{
    for (struct chat_follow *f = s->follows; f; f = f->next) {
        f->judged = false;
        f->doubted = true;
    }
    if (s->follows && s->socket)
        ws_socket_await_drain(s->socket);
}

void chat_follow_go_on(struct chat_session *s)
{
    if (s->follows)
        go(s);
}

void chat_follow_allowed(struct chat_session *s, const struct id16 *conversation)
{
    struct chat_follow *f = find(s, conversation);
    if (f && f->joined)
        f->judged = true;
}

void chat_follow_end(struct chat_session *s, const struct id16 *conversation)
{
    struct chat_follow *f = find(s, conversation);
    if (f)
        live_leave(s->door->live, &f->subscriber);
}

void chat_follow_close(struct chat_session *s)
{
    if (s->question && !s->question->under_way && !s->question->stepping)
        end_question(s);
    for (struct chat_follow *f = s->follows, *next; f; f = next) {
        next = f->next;
        if (!f->subscriber.left)
            live_leave(s->door->live, &f->subscriber);
    }
}

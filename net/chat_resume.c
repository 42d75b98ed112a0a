/* A resume's life, in `step`:
 *
 *   WAITING -> ASKED (summary) -> [FOLLOWING: the large conversation is joined] -> READ -> SENDING (a page, as the socket has
 *   room) -> READ ... -> gone
 *
 * Invariants:
 * 1. A page is asked for only when live events of the conversation reach the session already (it has joined, and follows a
 *    large one). An event that live brought before the question is applied and therefore in the answer; one that comes after
 *    it sets `noted`, and `noted` asks for one more page. So when the last page was sent and nothing is noted, all that live
 *    brings from now on is above the last id, or was sent.
 * 2. Only the owner of the answer under way frees a resume: while `under_way` is set, nobody else does.
 */
#include "net/chat_resume.h"

#include <string.h>

#include "net/chat_follow.h"
#include "net/chat_json.h"
#include "net/chat_live.h"
#include "src/base/error.h"
#include "src/base/memory.h"

enum { SETTLED_FIRST = 8, SETTLED_MAX = 256, SETTLED_TICKS_MAX = 4, RESUMED_BYTES = 256 };

enum resume_stage { RESUME_WAITING, RESUME_ASKED, RESUME_FOLLOWING, RESUME_READ, RESUME_SENDING };

struct chat_resume {
    struct shard_request shard;
    struct chat_session *session;
    struct chat_resume *next;
    uint64_t last_id, restart_after;
    size_t at; /* in the page */
    uint8_t stage;
    bool under_way, stepping, ended, noted, restart;
    uint8_t as_len, as[USER_ID_BYTES_MAX];
};

/* Caught up to `last_id`: live may yet bring what history has shown. */
struct chat_settled {
    struct id16 conversation;
    uint64_t last_id;
};

static void go(struct chat_resume *r);

/* -- settled */

static void settle(struct chat_session *s, const struct id16 *conversation, uint64_t last_id)
{
    struct chat_settled entry = {*conversation, last_id};
    s->settled_ticks = 0;
    for (uint32_t i = 0; i < s->settled_count; i++)
        if (same_id(&s->settled[i].conversation, conversation)) {
            s->settled[i] = entry;
            return;
        }
    if (s->settled_count ==
        SETTLED_MAX) { /* the oldest gives way: at worst its client sees a message twice */
        s->settled[s->settled_next++ % SETTLED_MAX] = entry;
        return;
    }
    if (s->settled_count == 0 ||
        (s->settled_count >= SETTLED_FIRST && (s->settled_count & (s->settled_count - 1)) == 0)) {
        size_t room = s->settled_count ? 2 * (size_t)s->settled_count : SETTLED_FIRST;
        struct chat_settled *grown = memory_realloc(s->settled, room * sizeof *grown);
        if (!grown)
            return;
        s->settled = grown;
    }
    s->settled[s->settled_count++] = entry;
}

static bool sent_before(struct chat_session *s, const struct live_message *m)
{
    for (uint32_t i = 0; i < s->settled_count; i++) {
        struct chat_settled *e = &s->settled[i];
        if (!same_id(&e->conversation, &m->conversation))
            continue;
        if (m->id <= e->last_id)
            return true;
        *e = s->settled[--s->settled_count]; /* live is past it, and comes in order */
        return false;
    }
    return false;
}

void chat_resume_tick(struct chat_session *s)
{
    if (!s->settled || ++s->settled_ticks < SETTLED_TICKS_MAX)
        return;
    memory_free(s->settled);
    s->settled = NULL;
    s->settled_count = s->settled_next = 0;
}

/* -- live meanwhile */

bool chat_resume_holds(struct chat_session *s, const struct live_message *message)
{
    if (message->kind != EVENT_MESSAGE)
        return false;
    for (struct chat_resume *r = s->resumes; r; r = r->next)
        if (same_id(&r->shard.command.conversation, &message->conversation)) {
            r->noted = true;
            return true;
        }
    return sent_before(s, message);
}

void chat_resume_lost(struct chat_session *s)
{
    for (struct chat_resume *r = s->resumes; r; r = r->next)
        r->noted = true;
}

/* -- one resume */

static void answered(struct shard_request *shard)
{
    struct chat_resume *r = shard->owner;
    r->under_way = false;
    go(r);
}

/* True when the answer is here already. */
static bool submit(struct chat_resume *r, enum shard_request_kind kind)
{
    struct request_router *router = &r->session->door->chat->router;
    r->shard.kind = kind;
    r->under_way = true;
    router->submit(router->owner, &r->shard);
    return !r->under_way;
}

static void drop_page(struct chat_resume *r)
{
    memory_free(r->shard.page.entries);
    r->shard.page = (struct shard_page){0};
    r->at = 0;
}

static void end(struct chat_resume *r)
{
    struct chat_session *s = r->session;
    parley_assert(!r->under_way && !r->ended);
    for (struct chat_resume **at = &s->resumes; *at; at = &(*at)->next)
        if (*at == r) {
            *at = r->next;
            break;
        }
    s->running_count -= r->stage != RESUME_WAITING;
    s->resume_count--;
    drop_page(r);
    r->ended = true;
    if (!r->stepping)
        memory_free(r);
}

static void fail(struct chat_resume *r)
{
    chat_session_tell_error(r->session, (struct span){0}, &r->shard.command.conversation, r->shard.error,
                            NULL);
    end(r);
}

static void finish(struct chat_resume *r)
{
    struct chat_session *s = r->session;
    uint8_t text[RESUMED_BYTES];
    struct json_writer w = json_writer_of(text, sizeof text);
    json_open_object(&w);
    json_key(&w, "type");
    json_put_text(&w, "resumed");
    json_key(&w, "conversation");
    chat_put_id16(&w, &r->shard.command.conversation);
    json_key(&w, "last");
    json_put_id(&w, r->last_id);
    json_close_object(&w);
    parley_assert(!w.out.failed);
    chat_session_tell(s, (struct span){text, json_writer_len(&w)});
    if (s->live && !r->as_len)
        chat_follow_allowed(s, &r->shard.command.conversation);
    if (s->live)
        settle(s, &r->shard.command.conversation, r->last_id);
    end(r);
}

/* Sends what there is room for. True when the page is at its end; else the socket tells when it has room. */
static bool send_page(struct chat_resume *r)
{
    struct chat_session *s = r->session;
    const uint8_t *page = r->shard.page.entries; /* NULL when it is empty */
    struct span rest = {page ? page + r->at : NULL, r->shard.page.len - r->at};
    struct chunk_cursor at = chunk_begin(rest);
    struct message m;
    int err = 0;
    while (r->at < r->shard.page.len && (err = chunk_next(&at, &m)) == 0) {
        size_t room = chat_live_message_room(&m);
        uint8_t *text = chat_ws_room(s->door, room);
        if (!text) {
            err = -PARLEY_ERR_NOMEM;
            break;
        }
        size_t len = chat_live_encode_replay(&r->shard.command.conversation, &m, text, room);
        uint32_t queued = ws_socket_queued_bytes(s->socket);
        if ((queued && queued + len > RESUME_QUEUED_BYTES_MAX) ||
            ws_socket_send(s->socket, WS_TEXT, (struct span){text, len}) != 0) {
            ws_socket_await_drain(s->socket);
            return false;
        }
        r->last_id = m.id;
        r->at = (size_t)(at.reader.at - page);
    }
    r->shard.error = err;
    return true;
}

static bool read_page(struct chat_resume *r)
{
    drop_page(r);
    if (r->restart)
        r->last_id = r->restart_after;
    r->restart = r->noted = false;
    r->shard.history = (struct history_query){HISTORY_AFTER, r->last_id, RESUME_PAGE_MESSAGES};
    r->stage = RESUME_SENDING;
    return submit(r, SHARD_HISTORY);
}

/* Sets the stage to READ when there is nothing to wait for. */
static void follow(struct chat_resume *r)
{
    r->stage = RESUME_FOLLOWING; /* it may be joined within the call */
    int err = chat_follow_for_resume(r->session, &r->shard.command.conversation);
    if (err == -PARLEY_ERR_AGAIN)
        return;
    r->shard.error = err;
    r->stage = RESUME_READ;
}

/* True when there is more to do at once. */
static bool step(struct chat_resume *r)
{
    struct chat_session *s = r->session;
    if (!s->socket) {
        end(r);
        return false;
    }
    if (r->shard.error) {
        fail(r);
        return false;
    }
    switch ((enum resume_stage)r->stage) {
    case RESUME_WAITING:
        s->running_count++;
        r->stage = RESUME_ASKED;
        return submit(r, SHARD_CONVERSATION);
    case RESUME_ASKED:
        r->stage = RESUME_READ;
        if (s->live && !r->as_len && r->shard.summary.role &&
            r->shard.summary.page_count >= MACHINE_LARGE_PAGES)
            follow(r);
        return r->stage == RESUME_READ;
    case RESUME_FOLLOWING:
        return false;
    case RESUME_READ:
        return read_page(r);
    case RESUME_SENDING:
        if (!send_page(r))
            return false;
        if (!r->shard.error && !r->restart && !r->noted && !r->shard.page.newer) {
            finish(r);
            return false;
        }
        r->stage = RESUME_READ;
        return true;
    }
    return false;
}

/* An answer that is here within submit must not begin a second walk: the first goes on. */
/* NOLINTNEXTLINE(misc-no-recursion): `stepping` and `going_on` end it at the second level. */
static void go(struct chat_resume *r)
{
    struct chat_session *s = r->session;
    if (r->stepping)
        return;
    r->stepping = true;
    while (step(r))
        ;
    r->stepping = false;
    if (!r->ended)
        return;
    memory_free(r);
    if (s->closed)
        chat_session_end_if_done(s);
    else
        chat_resume_go_on(s);
}

void chat_resume_followed(struct chat_session *s, const struct id16 *conversation, int err)
{
    for (struct chat_resume *r = s->resumes; r; r = r->next) {
        if (r->stage != RESUME_FOLLOWING || !same_id(&r->shard.command.conversation, conversation))
            continue;
        r->shard.error = err;
        r->stage = RESUME_READ;
        go(r);
        return;
    }
}

/* -- all of a session */

/* Whoever waits for room or for his turn. Steps may end resumes, so each round looks anew. */
/* NOLINTNEXTLINE(misc-no-recursion): as above. */
void chat_resume_go_on(struct chat_session *s)
{
    if (!s->ready || s->going_on)
        return;
    s->going_on = true;
    for (struct chat_resume *r = s->resumes, *next; r; r = next) {
        next = r->next;
        bool sends = r->stage == RESUME_SENDING && !r->under_way;
        bool may_begin = r->stage == RESUME_WAITING && s->running_count < RESUMES_RUNNING_MAX;
        if (r->stepping || !(sends || may_begin))
            continue;
        go(r);
    }
    s->going_on = false;
}

static int name_actor(struct chat_resume *r, struct span as)
{
    struct chat_session *s = r->session;
    struct request_router *router = &s->door->chat->router;
    struct command *c = &r->shard.command;
    if (as.len > sizeof r->as)
        return -PARLEY_ERR_TOO_LARGE;
    c->service = s->service && !as.len;
    c->actor = chat_session_user(s);
    c->actor_hash = s->subscriber.key;
    if (!as.len)
        return 0;
    memcpy(r->as, as.data, as.len);
    r->as_len = (uint8_t)as.len;
    c->actor = (struct span){r->as, as.len};
    c->actor_hash = router->hash(router->owner, as.data, as.len);
    return 0;
}

int chat_resume_begin(struct chat_session *s, const struct id16 *conversation, uint64_t after, struct span as)
{
    struct chat_resume **at = &s->resumes;
    for (; *at; at = &(*at)->next)
        if (same_id(&(*at)->shard.command.conversation, conversation)) {
            (*at)->restart = true;
            (*at)->restart_after = after;
            return 0;
        }
    struct chat_resume *r = s->resume_count < RESUMES_MAX ? memory_zalloc(sizeof *r) : NULL;
    if (!r)
        return -PARLEY_ERR_FULL;
    r->session = s;
    r->last_id = after;
    r->shard.owner = r;
    r->shard.answered = answered;
    r->shard.command.conversation = *conversation;
    int err = name_actor(r, as);
    if (err) {
        memory_free(r);
        return err;
    }
    *at = r;
    s->resume_count++;
    chat_resume_go_on(s);
    return 0;
}

void chat_resume_close(struct chat_session *s)
{
    for (struct chat_resume *r = s->resumes, *next; r; r = next) {
        next = r->next;
        if (!r->under_way)
            end(r);
    }
}

#include "tests/sim/sim_live.h"

#include <inttypes.h>
#include <string.h>

#include "net/chat_json.h"
#include "src/base/error.h"
#include "tests/sim/sim_trace.h"

/* Above so many pages an event's members come by the ways of followers, and those about one user overtake the others. */
static bool is_large(const struct sim_conversation *c)
{
    return c->page_count > MACHINE_FANOUT_PAGES_MAX;
}

static const struct sim_conversation *at_place(const struct sim_session *s, uint32_t conversation)
{
    return &s->world->oracle.conversations[conversation];
}

/* -- messages */

/* He sent it on this connection, so he gets its answer and not the message. */
static bool awaits_answer(const struct sim_session *s, const struct sim_op *op)
{
    return op->device == s->device && op->connection == s->number;
}

void sim_live_must_have(const struct sim_session *s, uint32_t conversation, uint64_t from, uint64_t to,
                        const char *what)
{
    const struct sim_conversation *c = at_place(s, conversation);
    const struct sim_kept *k = &s->kept[conversation];
    for (uint32_t i = sim_oracle_message_at(c, from + 1); i < c->message_count && c->messages[i].id <= to;
         i++) {
        bool has = i < k->has_max && k->has[i];
        sim_must(has || (awaits_answer(s, c->messages[i].op) && !c->messages[i].op->told), "live",
                 "device %u lacks message %" PRIu64 ", seq %" PRIu64 " of conversation %u, though %s",
                 s->device, c->messages[i].id, c->messages[i].seq, conversation, what);
    }
}

static void check_message(const struct sim_session *s, uint32_t conversation, const struct sim_said *said)
{
    const struct sim_conversation *c = at_place(s, conversation);
    const struct sim_member *m = &c->members[s->user];
    uint32_t place = sim_oracle_message_at(c, said->id);
    const struct sim_message *is = place < c->message_count ? &c->messages[place] : NULL;
    bool same = is && is->id == said->id && is->seq == said->seq && is->time_ms == said->time_ms &&
                is->op->created_at_ms == said->created_at_ms &&
                chat_is(said->sender, s->world->users[is->op->user].name) &&
                chat_is(said->client_id, is->op->client_id) && sim_op_body_is(is->op, said->body);
    sim_must(same, "live", "device %u: message %" PRIu64 ", seq %" PRIu64 " is not as committed", s->device,
             said->id, said->seq);
    if (said->replay) /* the page was judged when its shard gave it */
        return;
    sim_must(sim_member_covers(m, said->id), "live",
             "device %u is told of message %" PRIu64 " of conversation %u, in which u%u was not then",
             s->device, said->id, conversation, s->user);
    sim_must(is->session != s->session, "live",
             "device %u is told of message %" PRIu64 ", which it sent there itself", s->device, said->id);
}

/* -- events */

static bool is_told(const struct sim_session *s, const struct sim_conversation *c, const struct sim_change *e)
{
    if (!sim_member_covers(&c->members[s->user], e->id))
        return false;
    if (e->session && e->session == s->session) /* it has said that itself */
        return false;
    /* In a large one only the reader hears. */
    return e->kind != EVENT_RECEIPT || e->user == s->user || e->page_count == 1;
}

/* All events up to this one have come before it. */
static void check_watched(const struct sim_session *s, uint32_t conversation, uint64_t id)
{
    const struct sim_conversation *c = at_place(s, conversation);
    uint64_t from = s->follow[conversation].watched;
    for (uint32_t i = c->change_count; from && i > 0 && c->changes[i - 1].id > from; i--)
        sim_must(c->changes[i - 1].id >= id || !is_told(s, c, &c->changes[i - 1]), "live",
                 "device %u is told of %" PRIu64 " in conversation %u, and never was of event %" PRIu64,
                 s->device, id, conversation, c->changes[i - 1].id);
}

static bool is_about(const struct sim_change *e, const struct sim_session *s, const struct sim_said *said)
{
    static const struct {
        enum event_kind kind;
        const char *name;
    } kinds[] = {{EVENT_CREATED, "created"},
                 {EVENT_ADDED, "added"},
                 {EVENT_REMOVED, "removed"},
                 {EVENT_ROLE, "role"},
                 {EVENT_RECEIPT, "receipt"}};
    static const char *const roles[] = {"", "read_only", "member", "admin", "owner"};
    bool same = false;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(kinds); i++)
        same = same || (e->kind == kinds[i].kind && chat_is(said->kind, kinds[i].name));
    if (e->kind != EVENT_CREATED)
        same = same && chat_is(said->target, s->world->users[e->user].name);
    if (e->kind == EVENT_ADDED || e->kind == EVENT_ROLE)
        same = same && chat_is(said->role, roles[e->role]);
    return same && e->read_seq == said->read_seq && e->delivered_seq == said->delivered_seq;
}

static void check_event(const struct sim_session *s, uint32_t conversation, const struct sim_said *said)
{
    const struct sim_conversation *c = at_place(s, conversation);
    uint32_t i = c->change_count;
    while (i > 0 && c->changes[i - 1].id != said->id)
        i--;
    sim_must(i && is_about(&c->changes[i - 1], s, said), "live",
             "device %u: event %" PRIu64 " is not as committed", s->device, said->id);
    sim_must(sim_member_covers(&c->members[s->user], said->id), "live",
             "device %u is told of event %" PRIu64 " of conversation %u, in which u%u was not then",
             s->device, said->id, conversation, s->user);
}

/* What comes live comes in order, once, and without a gap that is not told. */
static void check_order(struct sim_session *s, uint32_t conversation, const struct sim_said *said)
{
    struct sim_follow *f = &s->follow[conversation];
    if (said->type == SIM_FRAME_MESSAGE) {
        sim_must(said->id > f->message_id, "live", "device %u is told of message %" PRIu64 " after %" PRIu64,
                 s->device, said->id, f->message_id);
        f->message_id = said->id;
    }
    if (is_large(at_place(s, conversation))) {
        f->watched = 0;
        return;
    }
    sim_must(said->id > f->event_id, "live", "device %u is told of %" PRIu64 " after event %" PRIu64,
             s->device, said->id, f->event_id);
    if (said->type == SIM_FRAME_EVENT)
        f->event_id = said->id;
    check_watched(s, conversation, said->id);
    if (said->id > f->watched)
        f->watched = said->id;
}

/* -- typing */

void sim_live_typing(struct sim_world *w, const struct shard_typing *typing)
{
    struct sim_typing *t = &w->typings[w->typing_count++ % SIM_TYPINGS_MAX];
    const struct sim_conversation *c = sim_oracle_find(&w->oracle, &typing->conversation);
    *t = (struct sim_typing){.conversation = (uint32_t)(c - w->oracle.conversations),
                             .user = sim_oracle_user(&w->oracle, &typing->user_hash),
                             .session = typing->session};
    sim_must(sim_role_in(c, t->user) > ROLE_READ_ONLY, "live",
             "u%u is told to be typing where he may not write", t->user);
    for (uint32_t i = 0; i < w->plan->devices; i++)
        t->devices |= (uint32_t)sim_member_in(&c->members[w->sessions[i].user]) << i;
}

static void check_typing(const struct sim_session *s, uint32_t conversation, const struct sim_said *said)
{
    const struct sim_world *w = s->world;
    bool found = false;
    for (uint32_t i = 0; i < SIM_TYPINGS_MAX && i < w->typing_count; i++) {
        const struct sim_typing *t = &w->typings[i];
        found = found || (t->conversation == conversation && chat_is(said->user, w->users[t->user].name) &&
                          (t->devices & 1u << s->device) && t->session != s->session);
    }
    sim_must(found || w->typing_count > SIM_TYPINGS_MAX, "live",
             "device %u is told who types in conversation %u", s->device, conversation);
}

/* -- frames */

/* Whatever is committed from here on is told, or `lag` is. What was lost before a lag may lie behind what comes after it, but
 * not behind what is committed by now. */
static void watch(struct sim_session *s)
{
    const struct sim_oracle *o = &s->world->oracle;
    for (uint32_t i = 0; i < SIM_CONVERSATIONS_MAX; i++) {
        uint64_t last = i < o->conversation_count ? o->conversations[i].last_id : 0;
        s->follow[i].watched = s->follow[i].sure_after = last ? last : 1;
    }
}

void sim_live_hello(struct sim_session *s)
{
    s->hello_sent = true;
    watch(s);
}

void sim_live_frame(struct sim_session *s, uint32_t conversation, const struct sim_said *said)
{
    sim_must((said->type == SIM_FRAME_HELLO) == !s->session, "live", "device %u: hello comes first, and once",
             s->device);
    switch (said->type) {
    case SIM_FRAME_HELLO:
        sim_must(chat_is(said->user, s->world->users[s->user].name) && s->hello_sent, "live",
                 "device %u is taken for another user", s->device);
        break;
    case SIM_FRAME_MESSAGE:
        check_message(s, conversation, said);
        if (!said->replay)
            check_order(s, conversation, said);
        break;
    case SIM_FRAME_EVENT:
        check_event(s, conversation, said);
        check_order(s, conversation, said);
        break;
    case SIM_FRAME_LAG:
        watch(s);
        break;
    case SIM_FRAME_TYPING:
        check_typing(s, conversation, said);
        break;
    default:
        break;
    }
}

/* -- at rest */

static void audit_one(const struct sim_session *s, uint32_t conversation)
{
    const struct sim_conversation *c = at_place(s, conversation);
    const struct sim_kept *k = &s->kept[conversation];
    bool in = c->exists && sim_member_in(&c->members[s->user]);
    sim_must(in == k->member, "live", "device %u believes that u%u is %s conversation %u", s->device, s->user,
             k->member ? "in" : "not in", conversation);
    if (!in)
        return;
    sim_live_must_have(s, conversation, k->from, UINT64_MAX, "all is at rest");
    if (!is_large(c))
        check_watched(s, conversation, UINT64_MAX);
}

void sim_live_audit(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->devices; i++)
        for (uint32_t c = 0; c < w->oracle.conversation_count; c++)
            audit_one(&w->sessions[i], c);
}

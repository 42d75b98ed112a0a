#include "tests/sim/sim_rest.h"

#include <inttypes.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/rows.h"
#include "src/shard/shard_internal.h"
#include "tests/sim/sim_device.h"
#include "tests/sim/sim_door.h"
#include "tests/sim/sim_live.h"
#include "tests/sim/sim_trace.h"

enum { ROUNDS_MAX = 6000, STEP_MS = 20, ASK_EVERY = 10, DAMAGED_ROUNDS = 300, AGAIN_MAX = 40 };

/* What is asked at rest, and the answer as the one who asked keeps it. */
struct question {
    struct sim_world *world;
    const struct sim_call *call; /* NULL: answered */
    struct shard_request answer;
};

static void hear(void *owner, struct sim_call *call)
{
    struct question *q = owner;
    if (call != q->call) {
        sim_device_hear(q->world, call);
        return;
    }
    q->answer = call->request;
    call->request.page = (struct shard_page){0};
    q->call = NULL;
}

/* Everybody does all that he can, once. */
static void round_of(struct sim_world *w, struct question *q)
{
    for (uint32_t n = 0; n < w->plan->shards && !w->dying; n++) {
        sim_world_turn(w, &w->shards[n], SIM_INBOX_MAX);
        if (!w->dying)
            sim_world_sync(w, &w->shards[n]);
    }
    if (w->dying)
        sim_world_crash(w);
    for (uint32_t count = w->call_count; count > 0 && sim_world_carry(w, hear, q); count--)
        ;
    sim_session_round(w);
    sim_world_pass(w, STEP_MS);
}

static bool shard_rests(const struct sim_world *w, const struct sim_shard *s)
{
    uint64_t offset;
    const struct shard *shard = s->shard;
    if (shard_waiting_count(shard) || shard->writeback.dirty_count || shard->writeback.batch_count ||
        !log_idle(shard->log))
        return false;
    for (uint32_t n = 0; n < w->plan->shards; n++) {
        const struct shard *other = w->shards[n].shard;
        if (rows_load_offset(shard->store, n, STORE_ALL, &offset) || offset != log_end(other->log))
            return false;
    }
    return true;
}

static bool rests(const struct sim_world *w)
{
    bool all = w->call_count == 0 && sim_door_rests(w) && sim_session_rests(w);
    for (uint32_t n = 0; n < w->plan->shards && all; n++)
        all = shard_rests(w, &w->shards[n]);
    return all;
}

bool sim_rest_come(struct sim_world *w)
{
    struct question nobody = {.world = w};
    bool listed = false;
    sim_say("rest");
    sim_world_calm(w);
    for (uint32_t i = 0; i < ROUNDS_MAX; i++) {
        if (!w->up && !sim_world_start(w)) {
            if (w->refused)
                return false;
            continue;
        }
        round_of(w, &nobody);
        uint32_t open = i % ASK_EVERY ? 1 : sim_device_ask_open(w);
        bool over = w->up && ((open == 0 && rests(w)) || (w->damaged && i > DAMAGED_ROUNDS));
        if (over &&
            !listed) { /* who was added by somebody who does not know yet is in no list that was asked for before */
            listed = true;
            sim_session_relist(w);
        } else if (over) {
            sim_device_settle(w);
            return true;
        }
    }
    for (uint32_t n = 0; n < w->plan->shards && w->up; n++) {
        struct shard_counters c;
        shard_counters_read(w->shards[n].shard, &c);
        sim_say("shard %u: %s, %u wait, %" PRIu64 " objects and %" PRIu64 " bytes are dirty, the log %" PRIu64
                "..%" PRIu64 " has %" PRIu64 " bytes, redo %" PRIu64 ", persisted %" PRIu64
                ", derived %" PRIu64,
                n, shard_rests(w, &w->shards[n]) ? "rests" : "does not rest",
                shard_waiting_count(w->shards[n].shard), c.dirty_objects, c.dirty_bytes,
                log_start(w->shards[n].shard->log), log_end(w->shards[n].shard->log), c.log_bytes, c.redo,
                c.persisted_redo, derive_floor(w->shards[n].shard));
    }
    sim_violation("rest", "%u calls are under way, %u commands open", w->call_count, sim_device_ask_open(w));
}

/* -- the audit */

/* A question of the user, until it is taken. False: the answer is that it is damaged. The page is the caller's. */
static bool ask(struct sim_world *w, uint32_t user, uint32_t conversation,
                const struct shard_request *question, struct shard_request *answer)
{
    struct question q = {.world = w};
    uint32_t rounds = 0;
    do {
        struct sim_call *call = sim_world_call(w, 0, user);
        struct command actor = call->request.command;
        call->conversation = conversation;
        call->request = *question;
        call->request.owner = call;
        call->request.command.actor = actor.actor;
        call->request.command.actor_hash = actor.actor_hash;
        for (q.call = call; q.call; rounds++) {
            sim_must(rounds < ROUNDS_MAX, "rest", "call %" PRIu64 " at rest is not answered", q.call->number);
            round_of(w, &q);
        }
    } while (q.answer.error == -PARLEY_ERR_FULL);
    *answer = q.answer;
    if (answer->error && w->damaged)
        return false;
    sim_must(!answer->error || !question->command.service, "history", "at rest there is no answer but %s",
             parley_err_code(answer->error));
    return true;
}

/* A question of the service, which may read everything. */
static struct shard_request about(struct sim_world *w, uint32_t conversation, enum shard_request_kind kind)
{
    return (struct shard_request){
        .kind = kind, .command = {.service = true, .conversation = w->oracle.conversations[conversation].id}};
}

static void audit_messages(struct sim_world *w, uint32_t at)
{
    const struct sim_conversation *c = &w->oracle.conversations[at];
    struct shard_request answer;
    uint32_t count = 0;
    uint64_t from = 0;
    for (bool more = true; more;) {
        struct shard_request question = about(w, at, SHARD_HISTORY);
        question.history = (struct history_query){HISTORY_AFTER, from, 1 + sim_below(&w->random, 200)};
        if (!ask(w, 0, at, &question, &answer))
            return;
        count += answer.page.count;
        more = answer.page.newer;
        from = count ? c->messages[count - 1].id : 0;
        memory_free(answer.page.entries);
    }
    sim_must(count == c->message_count, "history", "conversation %u has %u messages, %u were committed", at,
             count, c->message_count);
}

static void audit_member(const struct sim_world *w, uint32_t at, const struct member_view *m)
{
    const struct sim_conversation *c = &w->oracle.conversations[at];
    uint32_t user = sim_oracle_user(&w->oracle, &m->hash);
    sim_must(user != UINT32_MAX && c->members[user].ever, "history",
             "conversation %u has a member from nowhere", at);
    const struct sim_member *is = &c->members[user];
    bool same = m->role == is->role && m->interval_count == is->interval_count &&
                m->read_seq == is->read_seq && m->delivered_seq == is->delivered_seq;
    struct bytes_reader r = bytes_reader_of(m->intervals.data, m->intervals.len);
    for (uint32_t i = 0; same && i < m->interval_count; i++) {
        uint64_t joined = bytes_get_u64(&r), left = bytes_get_u64(&r);
        same = joined == is->intervals[i].joined && left == is->intervals[i].left;
    }
    sim_must(same, "history", "conversation %u: member u%u is not what the log says", at, user);
}

static void audit_members(struct sim_world *w, uint32_t at)
{
    const struct sim_conversation *c = &w->oracle.conversations[at];
    uint32_t found = 0, ever = 0;
    for (uint32_t i = 0; i < w->plan->users; i++)
        ever += c->members[i].ever;
    for (uint32_t page = 0; page < c->page_count; page++) {
        struct shard_request question = about(w, at, SHARD_MEMBERS), answer;
        question.from_page = page;
        if (!ask(w, 0, at, &question, &answer))
            return;
        struct bytes_reader r = bytes_reader_of(answer.page.entries, answer.page.len);
        for (uint32_t i = 0; i < answer.page.count; i++, found++) {
            struct member_view m = member_get(&r);
            sim_must(!r.failed, "history", "conversation %u: a page of members is damaged", at);
            audit_member(w, at, &m);
        }
        memory_free(answer.page.entries);
    }
    sim_must(found == ever, "history", "conversation %u has %u members, the log says %u", at, found, ever);
}

static void audit_summary(struct sim_world *w, uint32_t at)
{
    const struct sim_conversation *c = &w->oracle.conversations[at];
    struct shard_request question = about(w, at, SHARD_CONVERSATION), answer;
    if (!ask(w, 0, at, &question, &answer))
        return;
    const struct conversation_summary *s = &answer.summary;
    uint64_t last = c->message_count ? c->messages[c->message_count - 1].id : 0;
    sim_must(
        s->members == c->member_count && s->page_count == c->page_count && s->last_seq == c->message_count &&
            s->last_message_id == last && s->created_id == c->created_id && s->type == c->type,
        "history", "conversation %u: %u members, %u pages, %" PRIu64 " messages; the log says %u, %u, %u", at,
        s->members, s->page_count, s->last_seq, c->member_count, c->page_count, c->message_count);
}

/* What is unread, as he is told who asks; sim_check_answer sees to it. */
static void audit_unread(struct sim_world *w, uint32_t at, uint32_t user)
{
    struct shard_request question = about(w, at, SHARD_CONVERSATION), answer;
    question.command.service = false;
    if (sim_member_in(&w->oracle.conversations[at].members[user]))
        (void)ask(w, user, at, &question, &answer);
}

static void audit_user(struct sim_world *w, uint32_t user)
{
    struct shard_request question = {.kind = SHARD_LIST, .limit = LIST_LIMIT_MAX}, answer;
    if (!ask(w, user, 0, &question, &answer))
        return;
    uint32_t expected = 0;
    struct bytes_reader r = bytes_reader_of(answer.page.entries, answer.page.len);
    for (uint32_t i = 0; i < w->oracle.conversation_count; i++) {
        const struct sim_conversation *c = &w->oracle.conversations[i];
        expected += c->exists && sim_member_in(&c->members[user]);
    }
    sim_must(answer.page.count == expected, "lists", "u%u is in %u conversations, his list has %u", user,
             expected, answer.page.count);
    for (uint32_t i = 0; i < answer.page.count; i++) {
        struct id16 id = bytes_get_id16(&r);
        uint64_t joined = bytes_get_u64(&r);
        const struct sim_conversation *c = sim_oracle_find(&w->oracle, &id);
        sim_must(c && sim_member_in(&c->members[user]) && sim_member_joined(&c->members[user]) == joined,
                 "lists", "the list of u%u has a conversation in which he is not", user);
    }
    memory_free(answer.page.entries);
}

static void audit_profile(struct sim_world *w, uint32_t user)
{
    const struct sim_profile *p = &w->oracle.profiles[user];
    struct sim_op_text text;
    struct shard_request question = {.kind = SHARD_PROFILE, .command = {.target_hash = w->users[user].hash}},
                         answer;
    if (!ask(w, user, 0, &question, &answer) || !p->last)
        return;
    sim_op_text(p->last, &w->oracle.names, false, &text);
    sim_must(answer.page.len == strlen(text.title) &&
                 memcmp(answer.page.entries, text.title, answer.page.len) == 0,
             "history", "the name of u%u is not the last one that he gave himself", user);
    memory_free(answer.page.entries);
}

/* Whoever asks again is told the same: sim_device_hear sees to it. */
static void audit_retries(struct sim_world *w)
{
    struct question nobody = {.world = w};
    for (uint32_t i = 0; i < AGAIN_MAX && w->oracle.op_count; i++) {
        struct sim_op *op = w->oracle.ops[sim_below(&w->random, w->oracle.op_count)];
        if (sim_device_knows(w, op))
            sim_world_ask(w, op,
                          i % 4 == 0 && op->type != CONVERSATION_DIRECT && sim_op_kind(op->kind)->alters);
    }
    for (uint32_t i = 0; w->call_count; i++) {
        sim_must(i < ROUNDS_MAX, "rest", "%u retries at rest are not answered", w->call_count);
        round_of(w, &nobody);
    }
}

void sim_rest_audit(struct sim_world *w)
{
    sim_say("audit");
    for (uint32_t i = 0; i < w->oracle.conversation_count; i++) {
        if (!w->oracle.conversations[i].exists)
            continue;
        audit_messages(w, i);
        audit_members(w, i);
        audit_summary(w, i);
    }
    uint32_t users = w->plan->users < 20 ? w->plan->users : 20;
    for (uint32_t i = 0; i < users; i++) {
        audit_user(w, i);
        audit_profile(w, i);
        for (uint32_t at = 0; at < w->oracle.conversation_count; at++)
            audit_unread(w, at, i);
    }
    audit_retries(w);
    if (!w->damaged)
        sim_live_audit(w);
}

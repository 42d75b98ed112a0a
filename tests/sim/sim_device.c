#include "tests/sim/sim_device.h"

#include <inttypes.h>
#include <string.h>

#include "net/chat_json.h"
#include "src/base/error.h"
#include "tests/sim/sim_session.h"
#include "tests/sim/sim_trace.h"

enum { OPEN_MAX = 6, COPIES_MAX = 3, TRIES = 8, CALLS_MAX = 200 };

static uint32_t user_of(const struct sim_world *w, uint32_t device)
{
    return device % w->plan->users;
}

static uint32_t open_count(const struct sim_world *w, uint32_t device)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < w->oracle.op_count; i++)
        count += w->oracle.ops[i]->device == device && w->oracle.ops[i]->open;
    return count;
}

/* -- commands */

static bool plan_creation(struct sim_world *w, struct sim_op *op)
{
    struct sim_random *r = &w->random;
    uint32_t users = w->plan->users, kind = sim_below(r, 4);
    op->kind = COMMAND_CREATE;
    op->type = kind == 0 ? CONVERSATION_DIRECT : kind == 1 ? CONVERSATION_CHANNEL : CONVERSATION_GROUP;
    op->first_member = (op->user + 1 + sim_below(r, users - 1)) % users;
    op->member_count = sim_below(r, users < 8 ? users : 8);
    if (w->plan->crowd && !w->oracle.conversation_count)
        op->type = CONVERSATION_CHANNEL;
    if (op->type == CONVERSATION_CHANNEL && users > 150)
        op->member_count = 118 + sim_below(r, 20); /* about to be split */
    if (op->type == CONVERSATION_DIRECT)
        op->member_count = 1;
    struct id16 id = sim_op_conversation(op, &w->oracle.names);
    op->conversation = sim_oracle_conversation(&w->oracle, &id);
    return op->conversation != UINT32_MAX;
}

/* Mostly one in which he is. */
static uint32_t some_conversation(struct sim_world *w, uint32_t user)
{
    uint32_t at = 0;
    for (uint32_t tries = 0; tries < TRIES; tries++) {
        at = sim_below(&w->random, w->oracle.conversation_count);
        const struct sim_conversation *c = &w->oracle.conversations[at];
        if (c->exists && sim_member_in(&c->members[user]))
            break;
    }
    return at;
}

static uint32_t body_len(struct sim_world *w)
{
    uint32_t max = w->plan->body_bytes_max;
    if (sim_below(&w->random, 12) < w->plan->large_bodies)
        return 1 + sim_below(&w->random, max);
    return sim_below(&w->random, 20) ? 1 + sim_below(&w->random, 60) : max - 1 + sim_below(&w->random, 3);
}

/* Mostly one of whom it can be asked. */
static uint32_t some_target(struct sim_world *w, const struct sim_op *op)
{
    const struct sim_conversation *c = &w->oracle.conversations[op->conversation];
    uint32_t target = 0;
    for (uint32_t tries = 0; tries < TRIES; tries++) {
        target = sim_below(&w->random, w->plan->users);
        if (sim_member_in(&c->members[target]) == (op->kind != COMMAND_ADD))
            break;
    }
    return target;
}

/* A send of the user whose fate is asked for. NULL: there is none. */
static struct sim_op *some_send(struct sim_world *w, uint32_t user)
{
    for (uint32_t tries = 0; tries < TRIES; tries++) {
        struct sim_op *op = w->oracle.ops[sim_below(&w->random, w->oracle.op_count)];
        if (op->kind == COMMAND_SEND && op->user == user && !op->forgotten &&
            !sim_oracle_half_forgotten(&w->oracle, op))
            return op;
    }
    return NULL;
}

static void plan_fence(struct sim_world *w, struct sim_op *op)
{
    op->of = some_send(w, op->user);
    op->kind = op->of ? COMMAND_FENCE : COMMAND_PROFILE;
    if (op->of)
        op->conversation = op->of->conversation;
}

static void plan_receipt(struct sim_world *w, struct sim_op *op)
{
    struct sim_random *r = &w->random;
    uint32_t count = w->oracle.conversations[op->conversation].message_count;
    op->read_seq = sim_below(r, 3) ? 1 + sim_below(r, count + 1) : 0;
    op->delivered_seq = !op->read_seq || sim_below(r, 2) ? 1 + sim_below(r, count + 1) : 0;
}

static void plan_send(struct sim_world *w, struct sim_op *op)
{
    struct sim_random *r = &w->random;
    op->body_len = body_len(w);
    if (op->service ? sim_below(r, 2) : sim_below(r, 60) == 0)
        op->created_at_ms = 1 + sim_below(r, 1 << 30) * 1000ull;
}

static void plan_change(struct sim_world *w, struct sim_op *op)
{
    static const struct {
        enum command_kind kind;
        uint32_t weight;
    } kinds[] = {{COMMAND_SEND, 14},   {COMMAND_ADD, 6},   {COMMAND_REMOVE, 2}, {COMMAND_ROLE, 2},
                 {COMMAND_PROFILE, 2}, {COMMAND_FENCE, 2}, {COMMAND_RECEIPT, 4}};
    struct sim_random *r = &w->random;
    uint32_t all = 0, at = 0;
    for (uint32_t i = 0; i < PARLEY_ARRAY_COUNT(kinds); i++)
        all += kinds[i].weight;
    for (all = sim_below(r, all); all >= kinds[at].weight; at++)
        all -= kinds[at].weight;
    op->kind = kinds[at].kind;
    op->conversation = some_conversation(w, op->user);
    op->target = some_target(w, op);
    if (sim_below(r, 8) == 0)
        op->target = op->user;
    if (op->kind == COMMAND_ROLE || (op->kind == COMMAND_ADD && sim_below(r, 3) == 0))
        op->role = (enum member_role)(ROLE_READ_ONLY + sim_below(r, 4));
    if (op->kind == COMMAND_SEND)
        plan_send(w, op);
    else if (op->kind == COMMAND_FENCE)
        plan_fence(w, op);
    else if (op->kind == COMMAND_RECEIPT)
        plan_receipt(w, op);
}

/* On the device's connection or by HTTP. */
static void give(struct sim_world *w, struct sim_op *op, bool altered)
{
    if (altered || sim_below(&w->random, 2) || !sim_session_give(w, op))
        sim_world_ask(w, op, altered);
}

static void command(struct sim_world *w, uint32_t device, bool create)
{
    struct sim_op *op = sim_oracle_op(&w->oracle);
    op->device = device;
    op->service = device < w->plan->services;
    op->user = op->service ? sim_below(&w->random, w->plan->users) : user_of(w, device);
    if (!create || !plan_creation(w, op)) {
        op->type = 0;
        plan_change(w, op);
    }
    op->open = true;
    give(w, op, false);
    if (!w->rested && sim_chance(&w->random, w->plan->rate[SIM_DOUBLE]))
        sim_world_ask(w, op, false);
}

void sim_device_create(struct sim_world *w, uint32_t device)
{
    command(w, device, true);
}

void sim_device_crowd(struct sim_world *w, uint32_t first, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sim_op *op = sim_oracle_op(&w->oracle);
        op->kind = COMMAND_ADD;
        op->service = true;
        op->target = first + i;
        op->open = true;
        sim_world_ask(w, op, false);
    }
}

void sim_device_command(struct sim_world *w, uint32_t device)
{
    if (open_count(w, device) < OPEN_MAX && w->call_count < CALLS_MAX)
        command(w, device, w->oracle.conversation_count == 0 || sim_below(&w->random, 20) == 0);
}

bool sim_device_knows(const struct sim_world *w, const struct sim_op *op)
{
    bool told = (op->told && !op->was_nothing) || (op->refused && op->fence_id);
    return told && !op->forgotten && !sim_oracle_may_forget(&w->oracle, op);
}

void sim_device_again(struct sim_world *w)
{
    const struct sim_plan *p = w->plan;
    if (!w->oracle.op_count || w->call_count >= CALLS_MAX)
        return;
    bool known = sim_chance(&w->random, p->rate[SIM_AGAIN]);
    for (uint32_t tries = 0; tries < TRIES; tries++) {
        struct sim_op *op = w->oracle.ops[sim_below(&w->random, w->oracle.op_count)];
        if (op->copies >= COPIES_MAX || (known ? !sim_device_knows(w, op) : !op->open))
            continue;
        bool alters = sim_op_kind(op->kind)->alters && sim_chance(&w->random, p->rate[SIM_ALTER]);
        give(w, op, known && alters);
        return;
    }
}

uint32_t sim_device_ask_open(struct sim_world *w)
{
    uint32_t open = 0;
    for (uint32_t i = 0; i < w->oracle.op_count; i++) {
        struct sim_op *op = w->oracle.ops[i];
        open += op->open;
        if (op->open && !op->copies)
            sim_world_ask(w, op, false);
    }
    return open;
}

/* -- reads */

static void plan_history(struct sim_world *w, struct sim_call *call)
{
    const struct sim_conversation *c = &w->oracle.conversations[call->conversation];
    struct sim_random *r = &w->random;
    uint64_t from = 0;
    if (c->message_count && sim_below(r, 3))
        from = c->messages[sim_below(r, c->message_count)].id + sim_below(r, 3) - 1;
    call->request.kind = SHARD_HISTORY;
    call->request.history =
        (struct history_query){(enum history_way)sim_below(r, 3), from, 1 + sim_below(r, 40)};
}

void sim_device_read(struct sim_world *w, uint32_t device)
{
    struct sim_random *r = &w->random;
    if (!w->oracle.conversation_count || w->call_count >= CALLS_MAX)
        return;
    struct sim_call *call = sim_world_call(w, device, user_of(w, device));
    struct shard_request *request = &call->request;
    const struct sim_op *op = w->oracle.ops[sim_below(r, w->oracle.op_count)];
    call->conversation = some_conversation(w, call->user);
    uint32_t kind = sim_below(r, 8);
    if (kind == 0) {
        request->kind = SHARD_LIST;
        request->limit = LIST_LIMIT_MAX;
    } else if (kind == 1) {
        request->kind = SHARD_PROFILE;
        request->command.target_hash = w->users[call->user].hash;
    } else if (kind == 2) {
        request->kind = SHARD_CONVERSATION;
    } else if (kind == 3 && op->kind == COMMAND_SEND && op->user == call->user && !op->forgotten &&
               (!op->event_id || !sim_oracle_may_forget(&w->oracle, op))) {
        request->kind = SHARD_MESSAGE;
        request->command.client_id = sim_words(op->client_id);
        call->wanted = op;
        call->conversation = op->conversation;
    } else {
        plan_history(w, call);
    }
    request->command.conversation = w->oracle.conversations[call->conversation].id;
    sim_say("device %u: call %" PRIu64 ", read %d of conversation %u by u%u, way %d from %" PRIu64
            " limit %u",
            device, call->number, (int)request->kind, call->conversation, call->user,
            (int)request->history.way, request->history.from, request->history.limit);
}

/* -- answers */

static void settle(struct sim_op *op)
{
    op->refused = op->refused || (op->was_refused && !op->copies && !op->event_id);
}

void sim_device_settle(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->oracle.op_count; i++)
        settle(w->oracle.ops[i]);
}

static bool is_final(int err)
{
    return err != -PARLEY_ERR_FULL && err != -PARLEY_ERR_DISK_FULL && err != -PARLEY_ERR_CLOSING &&
           err != -PARLEY_ERR_INTERNAL;
}

static void must_be_same(const struct sim_op *op, uint64_t id, uint64_t seq)
{
    if (op->told && !op->was_nothing && !op->forgotten)
        sim_must(op->id == id && op->seq == seq, "stable",
                 "%s c%u: told %" PRIu64 ", seq %" PRIu64 ", before it was %" PRIu64 ", seq %" PRIu64,
                 sim_op_kind_name(op->kind), op->number, id, seq, op->id, op->seq);
}

static void tell(struct sim_world *w, struct sim_op *op, uint64_t id, uint64_t seq)
{
    must_be_same(op, id, seq);
    op->told = true;
    op->open = false;
    op->id = id;
    op->seq = seq;
    sim_session_told(w, op);
}

/* Now the fate of the send is known for good, whatever is still on its way. */
static void tell_fate(struct sim_world *w, struct sim_op *send, uint64_t id, uint64_t seq)
{
    if (seq) {
        tell(w, send, id, seq);
        return;
    }
    sim_must(!send->told || send->forgotten, "stable", "c%u is fenced, though it was sent as %" PRIu64,
             send->number, send->id);
    send->open = false;
    send->refused = true;
}

static void refuse(struct sim_op *op, int err)
{
    if (!is_final(err))
        return;
    op->open = false;
    op->was_refused = op->was_refused || (!op->told && err != -PARLEY_ERR_CORRUPT);
    settle(op);
}

void sim_device_told(struct sim_world *w, struct span client_id, int err, uint64_t id, uint64_t seq)
{
    uint32_t i = 0;
    while (i < w->oracle.op_count && !chat_is(client_id, w->oracle.ops[i]->client_id))
        i++;
    sim_must(i < w->oracle.op_count, "answer", "a send that nobody knows is answered");
    struct sim_op *op = w->oracle.ops[i];
    if (err) {
        refuse(op, err);
        return;
    }
    sim_must(!op->told || op->forgotten || (op->id == id && op->seq == seq), "stable",
             "c%u: told %" PRIu64 ", seq %" PRIu64 ", before it was %" PRIu64 ", seq %" PRIu64, op->number,
             id, seq, op->id, op->seq);
    sim_must(sim_oracle_is_vague(&w->oracle, op) || (op->event_id == id && op->event_seq == seq), "answer",
             "c%u: told %" PRIu64 ", seq %" PRIu64 ", committed is %" PRIu64 ", seq %" PRIu64, op->number, id,
             seq, op->event_id, op->event_seq);
    tell(w, op, id, seq);
}

void sim_device_hear(void *owner, struct sim_call *call)
{
    struct sim_world *w = owner;
    const struct shard_request *r = &call->request;
    struct sim_op *op = call->op;
    sim_say("device %u hears of call %" PRIu64, call->device, call->number);
    if (call->connection)
        sim_session_listed(w, call);
    if (!op || call->altered)
        return;
    if (r->error) {
        refuse(op, r->error);
        return;
    }
    tell(w, op, r->id, r->seq);
    if (op->of && !op->forgotten)
        tell_fate(w, op->of, r->id, r->seq);
}

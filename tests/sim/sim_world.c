#include "tests/sim/sim_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/shard_internal.h"
#include "storage/reader_pool.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_door.h"
#include "tests/sim/sim_live.h"
#include "tests/sim/sim_trace.h"

enum { LEASE_MS = 5000, WALL_MS_MAX = 1000, NOTICE_ROUNDS = 400 };
#define DAY_MS (24ull * 3600 * 1000)
#define BEGIN_MS 1793480000000ull /* some hours before a month's end, so that runs cross it */

/* A replay and a close may wait for the store: here that takes no time. */
int usleep(useconds_t us)
{
    (void)us;
    return 0;
}

/* What the store and pool do now is what this shard's are like. */
static void enter(struct sim_shard *s)
{
    sim_store_set(&s->odds, sim_next(&s->world->random));
    sim_store_set_full(s->world->queue_full);
    sim_store_set_late(s->late);
    sim_store_set_pressure(s->pressure);
}

/* -- calls */

static void call_free(struct sim_call *call)
{
    memory_free(call->request.page.entries);
    sim_op_text_end(&call->text);
    free(call);
}

void sim_world_copy_ended(struct sim_op *op)
{
    if (op) {
        parley_assert(op->copies);
        op->copies--;
    }
}

static void sweep(struct sim_world *w)
{
    for (struct sim_call **at = &w->calls; *at;) {
        struct sim_call *call = *at;
        if (call->phase != SIM_GONE) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        w->call_count--;
        call_free(call);
    }
}

struct sim_call *sim_world_call(struct sim_world *w, uint32_t device, uint32_t user)
{
    struct sim_call *call = calloc(1, sizeof *call), **at = &w->calls;
    parley_assert(call);
    call->world = w;
    call->number = ++w->call_numbers;
    call->device = device;
    call->user = user;
    call->request.owner = call;
    call->request.command.actor = sim_words(w->users[user].name);
    call->request.command.actor_hash = w->users[user].hash;
    while (*at)
        at = &(*at)->next;
    *at = call;
    w->call_count++;
    return call;
}

bool sim_world_has_call(const struct sim_world *w, uint64_t number)
{
    const struct sim_call *call = w->calls;
    while (call && call->number != number)
        call = call->next;
    return call != NULL;
}

void sim_world_ask(struct sim_world *w, struct sim_op *op, bool altered)
{
    struct sim_call *call = sim_world_call(w, op->device, op->user);
    call->op = op;
    call->altered = altered;
    call->conversation = op->conversation;
    sim_op_text(op, &w->oracle.names, altered, &call->text);
    call->request.kind = SHARD_COMMAND;
    call->request.command = call->text.command;
    call->request.command.conversation = w->oracle.conversations[op->conversation].id;
    op->copies++;
    sim_say("device %u: call %" PRIu64 ", %s%s c%u of conversation %u by u%u", op->device, call->number,
            altered ? "altered " : "", sim_op_kind_name(op->kind), op->number, op->conversation, op->user);
}

static void tell_answer(struct sim_world *w, struct sim_call *call)
{
    const struct shard_request *request = &call->request;
    sim_say("call %" PRIu64 " is answered: %s, %" PRIu64 " %" PRIu64 "%s, %u entries", call->number,
            request->error ? parley_err_code(request->error) : "ok", request->id, request->seq,
            request->duplicate ? " (again)" : "", request->error ? 0 : request->page.count);
    sim_check_answer(w, call);
}

static void call_done(struct shard_request *request)
{
    struct sim_call *call = request->owner;
    struct sim_world *w = call->world;
    bool heard = !w->dead && !w->dying;
    parley_assert(call->phase == SIM_INSIDE);
    if (!call->uncounted)
        sim_world_copy_ended(call->op);
    call->phase = heard ? SIM_RETURNING : SIM_GONE;
    if (heard)
        tell_answer(w, call);
    if (call->door)
        sim_door_answer(w, call);
}

/* -- between shards */

static void question_done(struct shard_request *request)
{
    struct sim_world *w = ((struct sim_shard *)request->home)->world;
    struct sim_shard *destination = &w->shards[request->derive.destination];
    parley_assert(destination->answer_count < SIM_SHARDS_MAX);
    destination->answers[destination->answer_count++] = request;
}

static void question_done_here(struct shard_request *request)
{
    request->answered(request);
}

static bool ask(void *owner, struct shard_request *request)
{
    struct sim_shard *from = owner;
    struct sim_world *w = from->world;
    struct sim_shard *source = &w->shards[request->derive.source];
    w->asked++;
    request->home = from;
    if (source == from) {
        request->done = question_done_here;
        shard_submit(source->shard, request);
    } else if (source->inbox_count == w->plan->inbox_max) {
        request->error = -PARLEY_ERR_FULL;
        request->answered(request);
    } else {
        request->done = question_done;
        source->inbox[source->inbox_count++] = request;
    }
    return true;
}

static void ask_ended(void *owner)
{
    ((struct sim_shard *)owner)->world->ended++;
}

static void on_typing(void *owner, const struct shard_typing *typing)
{
    struct sim_shard *s = owner;
    sim_door_typing(s->world, s, typing);
}

static void on_large_member(void *owner, const struct id16 *user, const struct id16 *conversation)
{
    struct sim_shard *s = owner;
    sim_door_large_member(s->world, s, user, conversation);
}

static void on_applied(void *owner, const struct shard_effect *effect)
{
    struct sim_shard *s = owner;
    sim_oracle_feed(&s->world->oracle, s->number, effect->event, true);
    sim_trace_result()->events++;
    sim_check_effect(s->world, effect);
    sim_check_outcomes(s->world);
    sim_oracle_sent(&s->world->oracle, effect->event, effect->session);
    sim_door_applied(s->world, s, effect);
}

static void on_fatal(void *owner, int err, const char *what)
{
    struct sim_shard *s = owner;
    struct sim_world *w = s->world;
    if (w->dead || w->dying)
        return;
    sim_say("shard %u: fatal: %s: %s", s->number, what, parley_err_code(err));
    sim_must(w->may_die || w->damaged, "fatal", "shard %u ends the process: %s: %s", s->number, what,
             parley_err_code(err));
    w->dying = true;
}

/* -- start and end */

static int open_one(struct sim_world *w, struct sim_shard *s)
{
    const struct sim_plan *p = w->plan;
    struct shard_options options = {
        .number = s->number,
        .log_dir = "/log",
        .files = sim_file_layer(s->disk),
        .segment_bytes = p->segment_bytes,
        .key = w->key,
        .clock = &w->clock.source,
        .store_dir = s->store_dir,
        .pool = s->pool,
        .limits = {p->group_members_max, 100000, p->body_bytes_max, TITLE_BYTES_MAX},
        .dedup = {400 * DAY_MS, p->dedup_entries_max},
        .shard_count = p->shards,
        .ask = ask,
        .ask_ended = ask_ended,
        .memory_bytes_max = p->memory_bytes_max,
        .dirty_bytes_max = p->dirty_bytes_max,
        .batch_bytes = p->batch_bytes,
        .log_bytes_max = p->log_bytes_max,
        .lease_ms = LEASE_MS,
        .request_count_max = p->requests_max,
        .owner = s,
        .on_applied = on_applied,
        .on_typing = on_typing,
        .on_large_member = on_large_member,
        .on_fatal = on_fatal};
    enter(s);
    s->report = (struct log_report){0};
    int err = shard_open(&options, &s->report, &s->shard);
    sim_say("shard %u opens: %s, log %" PRIu64 "..%" PRIu64 ", torn %" PRIu64 " %s", s->number,
            err ? parley_err_code(err) : "ok", s->report.start, s->report.end, s->report.torn_bytes,
            err ? s->report.text : "");
    return err;
}

static void drop_inbox(struct sim_shard *s)
{
    for (uint32_t i = 0; i < s->inbox_count; i++) {
        struct shard_request *request = s->inbox[i];
        if (request->kind == SHARD_DERIVE) {
            request->error = -PARLEY_ERR_CLOSING;
            request->answered(request);
            continue;
        }
        struct sim_call *call = request->owner;
        if (!call->uncounted)
            sim_world_copy_ended(call->op);
        call->phase = SIM_GONE;
        request->error = -PARLEY_ERR_CLOSING;
        if (call->door)
            sim_door_answer(s->world, call);
    }
    s->inbox_count = 0;
}

static void bring_answers(struct sim_shard *s)
{
    uint32_t count = s->answer_count;
    struct shard_request *answers[SIM_SHARDS_MAX];
    memcpy(answers, s->answers, sizeof answers);
    s->answer_count = 0;
    for (uint32_t i = 0; i < count; i++)
        answers[i]->answered(answers[i]);
}

/* All questions come home, then the shards end. */
static void close_all(struct sim_world *w)
{
    w->up = false;
    sim_door_shut(w);
    for (uint32_t n = 0; n < w->plan->shards; n++)
        if (w->shards[n].shard)
            shard_stop_deriving(w->shards[n].shard);
    for (uint32_t n = 0; n < w->plan->shards; n++)
        drop_inbox(&w->shards[n]);
    for (uint32_t tries = 0; w->asked != w->ended; tries++) {
        sim_must(tries < 100000, "rest", "questions between shards do not come home");
        for (uint32_t n = 0; n < w->plan->shards; n++) {
            enter(&w->shards[n]);
            reader_pool_poll(w->shards[n].pool, 0);
            bring_answers(&w->shards[n]);
        }
    }
    for (uint32_t n = 0; n < w->plan->shards; n++) {
        enter(&w->shards[n]);
        shard_close(&w->shards[n].shard);
    }
    sim_door_close(w);
    sweep(w);
}

void sim_world_stop(struct sim_world *w)
{
    sim_say("stop");
    sim_door_leave(w);
    close_all(w);
    if (w->dying)
        sim_world_crash(w);
}

void sim_world_crash(struct sim_world *w)
{
    sim_say("crash");
    sim_trace_result()->crashes++;
    w->dead = true;
    for (uint32_t n = 0; n < w->plan->shards; n++)
        sim_file_crash(w->shards[n].disk, sim_below(&w->random, 2));
    sim_store_crash();
    close_all(w);
    for (uint32_t n = 0; n < w->plan->shards; n++)
        sim_file_restart(w->shards[n].disk);
    w->may_die = w->dying = w->dead = false;
}

static void refused(struct sim_world *w, const char *why)
{
    sim_say("refused: %s", why);
    w->refused = sim_trace_result()->refused = true;
}

/* A start that fails must have a reason. */
static void failed_start(struct sim_world *w, const struct sim_shard *s, int err)
{
    bool damage = w->damaged && (err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_LOST);
    bool passes = err == -PARLEY_ERR_DISK_FULL || err == -PARLEY_ERR_FULL || w->may_die;
    sim_must(damage || passes, "fatal", "shard %u does not start: %s: %s", s->number, parley_err_code(err),
             s->report.text);
    sim_must(!damage || s->report.text[0] || err == -PARLEY_ERR_CORRUPT, "damage",
             "shard %u refuses to start and does not say why", s->number);
    if (damage)
        refused(w, s->report.text);
}

static void take_inbox(struct sim_world *w, struct sim_shard *s, uint32_t take)
{
    for (; take > 0 && s->inbox_count > 0 && !w->dying; take--) {
        struct shard_request *request = s->inbox[0];
        s->inbox_count--;
        memmove(&s->inbox[0], &s->inbox[1], s->inbox_count * sizeof(struct shard_request *));
        if (request->kind != SHARD_DERIVE) {
            struct sim_call *call = request->owner;
            if (call->altered && sim_oracle_half_forgotten(&w->oracle, call->op)) {
                sim_world_copy_ended(call->op);
                call->phase = SIM_GONE;
                continue;
            }
            call->phase = SIM_INSIDE;
            request->done = call_done;
            sim_check_arrival(w, call);
        }
        shard_submit(s->shard, request);
    }
}

void sim_world_submit(struct sim_world *w, struct sim_call *call, uint32_t shard)
{
    struct sim_shard *s = &w->shards[shard];
    struct shard_request *request = &call->request;
    if (call->here) {
        call->phase = SIM_INSIDE;
        request->done = call_done;
        sim_check_arrival(w, call);
        shard_submit(s->shard, request);
    } else if (s->inbox_count < w->plan->inbox_max) {
        call->phase = SIM_QUEUED;
        s->inbox[s->inbox_count++] = request;
    } else {
        if (!call->uncounted)
            sim_world_copy_ended(call->op);
        request->error = -PARLEY_ERR_FULL;
        call->here = true; /* at once */
        sim_door_answer(w, call);
    }
}

/* A log has lost its end, and the mark does not know. If another shard has derived from there, it tells. */
static void must_notice(struct sim_world *w)
{
    bool derived = false;
    for (uint32_t n = 0; n < w->plan->shards; n++)
        for (uint32_t source = 0; source < w->plan->shards; source++)
            derived = derived || sim_check_derived_more(&w->shards[n], &w->shards[source]);
    for (uint32_t i = 0; derived && i < NOTICE_ROUNDS && !w->dying; i++) {
        for (uint32_t n = 0; n < w->plan->shards && !w->dying; n++) {
            struct sim_shard *s = &w->shards[n];
            enter(s);
            bring_answers(s);
            take_inbox(w, s, SIM_INBOX_MAX);
            reader_pool_poll(s->pool, 0);
            shard_turn_end(s->shard);
            sim_file_release(s->disk, 1);
        }
        sim_world_pass(w, 20);
    }
    sim_must(!derived || w->dying, "damage",
             "a log is shorter than what another shard has derived from it, and nobody says so");
}

bool sim_world_start(struct sim_world *w)
{
    bool whole = true;
    sim_say("start");
    for (uint32_t n = 0; n < w->plan->shards; n++) {
        struct sim_shard *s = &w->shards[n];
        int err = open_one(w, s);
        if (err) {
            failed_start(w, s, err);
            sim_world_crash(w);
            return false;
        }
        whole = sim_check_log(w, s) && whole;
        w->oracle.logs[n].floor = log_ceiling(s->shard->log);
    }
    w->up = whole;
    if (whole) {
        sim_door_open(w);
        return true;
    }
    must_notice(w);
    refused(w, "the last block is gone, and nothing that was kept can tell");
    sim_world_crash(w);
    return false;
}

static void init_shard(struct sim_world *w, uint32_t n)
{
    struct sim_shard *s = &w->shards[n];
    s->world = w;
    s->number = n;
    snprintf(s->store_dir, sizeof s->store_dir, "/store%u", n);
    s->disk = sim_file_create(sim_next(&w->random));
    sim_file_hold(s->disk, true);
    parley_assert(reader_pool_create(&(struct reader_pool_options){.reactor_count = 1}, &s->pool) == 0);
}

void sim_world_init(struct sim_world *w, const struct sim_plan *plan)
{
    *w = (struct sim_world){.plan = plan, .random = {plan->seed * 2}};
    parley_assert(plan->inbox_max <= SIM_INBOX_MAX && plan->shards <= SIM_SHARDS_MAX);
    for (size_t i = 0; i < sizeof w->key.bytes; i++)
        w->key.bytes[i] = (uint8_t)sim_next(&w->random);
    clock_manual_init(&w->clock, BEGIN_MS + sim_below(&w->random, WALL_MS_MAX), 0);
    w->users = calloc(plan->users, sizeof *w->users);
    parley_assert(w->users);
    for (uint32_t i = 0; i < plan->users; i++) {
        snprintf(w->users[i].name, sizeof w->users[i].name, "u%u", i % SIM_USERS_MAX);
        w->users[i].hash = hash_128(&w->key, w->users[i].name, strlen(w->users[i].name));
    }
    struct sim_names names = {&w->key, w->users, plan->users};
    sim_oracle_init(&w->oracle, plan, &names);
    sim_session_init(w);
    sim_socket_set(plan->byte_weight, plan->wire_bytes);
    for (uint32_t n = 0; n < plan->shards; n++)
        init_shard(w, n);
}

void sim_world_clear(struct sim_world *w)
{
    if (w->up)
        sim_world_stop(w);
    for (struct sim_call *call = w->calls; call; call = call->next)
        call->phase = SIM_GONE;
    sweep(w);
    for (uint32_t n = 0; n < w->plan->shards; n++) {
        reader_pool_destroy(&w->shards[n].pool);
        sim_file_destroy(&w->shards[n].disk);
    }
    sim_session_clear(w);
    sim_door_clear(w);
    sim_store_forget();
    sim_oracle_clear(&w->oracle);
    free(w->users);
}

/* -- what happens */

void sim_world_turn(struct sim_world *w, struct sim_shard *s, uint32_t take)
{
    enter(s);
    sim_door_turn_begin(w, s);
    if (!w->dying)
        bring_answers(s);
    take_inbox(w, s, take);
    if (!w->dying)
        reader_pool_poll(s->pool, 0);
    if (!w->dying)
        shard_turn_end(s->shard);
    if (!w->dying)
        sim_door_turn_end(w, s);
    if (!w->dying)
        sim_check_shard(w, s);
    sweep(w);
}

void sim_world_sync(struct sim_world *w, struct sim_shard *s)
{
    enter(s);
    sim_file_release(s->disk, 1);
    sim_file_layer(s->disk)->ops->poll(sim_file_layer(s->disk), false);
    sweep(w);
}

static void arrive(struct sim_world *w, struct sim_call *call)
{
    struct shard_request *request = &call->request;
    struct sim_shard *s = &w->shards[hash_shard(&w->key, shard_request_key(request), w->plan->shards)];
    if (!w->rested && sim_chance(&w->random, w->plan->rate[SIM_DROP])) {
        sim_say("call %" PRIu64 " is lost", call->number);
        call->phase = SIM_GONE;
    } else if (!w->up) {
        call->phase = SIM_GONE;
    } else if (s->inbox_count >= w->plan->inbox_max) {
        sim_say("call %" PRIu64 ": the inbox of shard %u is full", call->number, s->number);
        request->error = -PARLEY_ERR_FULL;
        call->phase = SIM_RETURNING;
    } else {
        s->inbox[s->inbox_count++] = request;
        call->phase = SIM_QUEUED;
        return;
    }
    sim_world_copy_ended(call->op);
}

/* Between a device and the server. */
static bool travels(const struct sim_call *call)
{
    return !call->door && (call->phase == SIM_TRAVELLING || call->phase == SIM_RETURNING);
}

bool sim_world_carry(struct sim_world *w, sim_heard_fn *heard, void *owner)
{
    uint32_t count = 0;
    for (struct sim_call *c = w->calls; c; c = c->next)
        count += travels(c);
    if (!count)
        return false;
    bool reorder = !w->rested && sim_chance(&w->random, w->plan->rate[SIM_REORDER]);
    uint32_t skip = reorder ? sim_below(&w->random, count) : 0;
    struct sim_call *call = w->calls;
    while (!travels(call) || skip-- > 0)
        call = call->next;
    if (call->phase == SIM_TRAVELLING) {
        arrive(w, call);
    } else {
        bool lost = !w->rested && sim_chance(&w->random, w->plan->rate[SIM_DROP]);
        bool echoed = !w->rested && sim_chance(&w->random, w->plan->rate[SIM_ECHO]);
        if (lost)
            sim_say("the answer to call %" PRIu64 " is lost", call->number);
        for (int i = 0; !lost && i < 1 + echoed; i++)
            heard(owner, call);
        call->phase = SIM_GONE;
    }
    sweep(w);
    return true;
}

void sim_world_flush(struct sim_shard *s)
{
    sim_must(store_flush(s->shard->store) == 0, "fatal", "shard %u: a flush fails", s->number);
    sim_say("shard %u: a flush", s->number);
}

void sim_world_calm(struct sim_world *w)
{
    w->rested = true;
    w->queue_full = 0;
    for (uint32_t n = 0; n < w->plan->shards; n++) {
        struct sim_shard *s = &w->shards[n];
        s->odds = (struct sim_store_odds){1000, 100, 0, 1000};
        s->late = 0;
        s->pressure = STORE_FINE;
        s->stalled_until = 0;
        sim_file_set_full(s->disk, false);
        sim_file_fail_write(s->disk, UINT32_MAX, -PARLEY_ERR_IO);
        sim_file_fail_sync(s->disk, UINT32_MAX, -PARLEY_ERR_IO);
    }
}

void sim_world_rouse(struct sim_world *w)
{
    w->rested = false;
    for (uint32_t n = 0; n < w->plan->shards; n++)
        w->shards[n].odds = (struct sim_store_odds){500, 100, 300, 500};
}

void sim_world_pass(struct sim_world *w, uint64_t ms)
{
    clock_manual_advance(&w->clock, ms * 1000000);
}

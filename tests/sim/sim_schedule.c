#include "tests/sim/sim_schedule.h"

#include <inttypes.h>

#include "src/base/error.h"
#include "storage/log_block.h"
#include "tests/sim/sim_check.h"
#include "tests/sim/sim_device.h"
#include "tests/sim/sim_rest.h"
#include "tests/sim/sim_session.h"
#include "tests/sim/sim_trace.h"

enum { SECTOR_BYTES = 4096, STALL_STEPS = 200, DAY_MINUTES = 24 * 60, MONTHS_MAX = 10, CROWD_AT_ONCE = 48 };
#define DAY_MS (24ull * 3600 * 1000)

enum act {
    ACT_TURN,
    ACT_SYNC,
    ACT_CARRY,
    ACT_COMMAND,
    ACT_AGAIN,
    ACT_READ,
    ACT_PASS,
    ACT_SESSION,
    ACT_COUNT
};

struct schedule {
    struct sim_world world;
    uint32_t weights[ACT_COUNT], weight;
};

static struct sim_shard *some_shard(struct sim_world *w)
{
    return &w->shards[sim_below(&w->random, w->plan->shards)];
}

static bool happens(struct sim_world *w, enum sim_fault fault)
{
    return sim_chance(&w->random, w->plan->rate[fault]);
}

/* -- faults */

static void set_clock(struct sim_world *w)
{
    static const uint32_t spans_ms[] = {10, 1000, 60000, 3600000, DAY_MINUTES * 60000};
    int64_t ms =
        (int64_t)sim_below(&w->random, 2 * spans_ms[sim_below(&w->random, PARLEY_ARRAY_COUNT(spans_ms))]);
    ms = sim_below(&w->random, 2) ? ms : -ms;
    clock_manual_step_wall(&w->clock, ms);
    sim_say("the clock is set by %" PRId64 " ms", ms);
}

/* The next but some: ids never go back, so it is another one for all that comes after. */
static void turn_month(struct sim_world *w)
{
    if (++w->months > MONTHS_MAX) /* dedup would forget */
        return;
    sim_world_pass(w, (27 + sim_below(&w->random, 5)) * DAY_MS);
    sim_say("another month");
}

static void set_weather(struct sim_world *w)
{
    struct sim_random *r = &w->random;
    struct sim_shard *s = some_shard(w);
    static const uint32_t flushes[] = {0, 20, 100, 300, 1000}, writes[] = {5, 50, 200, 1000},
                          jobs[] = {3, 60, 300, 1000, 1000, 1000};
    s->odds = (struct sim_store_odds){.write = writes[sim_below(r, PARLEY_ARRAY_COUNT(writes))],
                                      .flush = flushes[sim_below(r, PARLEY_ARRAY_COUNT(flushes))],
                                      .cold = sim_below(r, 2) * sim_below(r, 1000),
                                      .job = jobs[sim_below(r, PARLEY_ARRAY_COUNT(jobs))]};
    s->late = sim_below(r, 2) * sim_below(r, 900);
    w->queue_full = happens(w, SIM_QUEUE_FULL) ? sim_below(r, 500) : 0;
    sim_say("shard %u: store writes %u, flushes %u, is cold %u, pool runs %u, late %u; queues are full %u",
            s->number, s->odds.write, s->odds.flush, s->odds.cold, s->odds.job, s->late, w->queue_full);
}

/* Each comes and goes. */
static void change_space(struct sim_world *w)
{
    static const enum store_pressure kinds[] = {STORE_FINE, STORE_FINE, STORE_SLOW, STORE_STOP,
                                                STORE_DISK_FULL};
    struct sim_shard *s = some_shard(w);
    if (happens(w, SIM_PRESSURE) || s->pressure != STORE_FINE) {
        s->pressure = kinds[sim_below(&w->random, PARLEY_ARRAY_COUNT(kinds))];
        sim_say("shard %u: the store's pressure is %d", s->number, (int)s->pressure);
    }
    bool full = happens(w, SIM_NO_SPACE);
    sim_file_set_full(s->disk, full);
    if (full)
        sim_say("shard %u: the log's disk is full", s->number);
}

static void fail_disk(struct sim_world *w)
{
    struct sim_shard *s = some_shard(w);
    uint32_t n = 1 + sim_below(&w->random, 4);
    if (happens(w, SIM_FAIL_WRITE)) {
        sim_file_fail_write(s->disk, n, -PARLEY_ERR_IO);
        w->may_die = true;
        sim_say("shard %u: write %u from now fails", s->number, n);
    }
    if (happens(w, SIM_FAIL_SYNC)) {
        sim_file_fail_sync(s->disk, n, -PARLEY_ERR_IO);
        w->may_die = true;
        sim_say("shard %u: sync %u from now fails", s->number, n);
    }
}

/* The last sector of a segment that is not zero, or a random one before it. False: none is. */
static bool flip(struct sim_world *w, struct sim_shard *s, bool last)
{
    const char *path = NULL, *found;
    uint8_t *data;
    uint64_t len, used = 0;
    for (uint32_t skip = 0; (found = sim_file_find(s->disk, ".seg", skip)) != NULL; skip++) {
        uint64_t end = 0;
        parley_assert(sim_file_bytes(s->disk, found, &data, &len));
        for (uint64_t at = 0; at < len; at += SECTOR_BYTES)
            if (!log_block_is_zero(data + at, SECTOR_BYTES))
                end = at + SECTOR_BYTES;
        if (end && (last || !path || sim_below(&w->random, 2))) {
            path = found;
            used = end;
        }
    }
    if (!path)
        return false;
    uint64_t from = last ? used - SECTOR_BYTES : 0, span = (used - from) * 8;
    uint64_t bit = from * 8 + sim_next(&w->random) % (last ? 512 : span);
    sim_say("shard %u: bit %" PRIu64 " of the %s segment rots", s->number, bit, last ? "last" : "chosen");
    return sim_file_flip(s->disk, path, bit);
}

static void damage(struct sim_world *w)
{
    struct sim_shard *s = some_shard(w);
    if (happens(w, SIM_FLIP))
        w->damaged = flip(w, s, false) || w->damaged;
    if (happens(w, SIM_ROT) && sim_store_rot(s->store_dir, sim_next(&w->random))) {
        w->damaged = true;
        sim_say("shard %u: a row rots", s->number);
    }
    if (happens(w, SIM_MISDIRECT)) {
        w->damaged = s->astray = true;
        sim_file_misdirect(s->disk);
        sim_say("shard %u: the next write goes astray", s->number);
    }
    if (w->up && happens(w, SIM_FLIP_LAST) && flip(w, s, true)) {
        w->damaged = true;
        for (uint32_t n = 0; n < w->plan->shards; n++) /* some stores remember what the log has lost */
            if (sim_below(&w->random, 2))
                sim_world_flush(&w->shards[n]);
        sim_world_crash(w);
    }
}

static void faults(struct sim_world *w)
{
    if (happens(w, SIM_CLOCK))
        set_clock(w);
    if (happens(w, SIM_MONTH))
        turn_month(w);
    if (happens(w, SIM_WEATHER))
        set_weather(w);
    if (happens(w, SIM_STALL)) {
        struct sim_shard *s = some_shard(w);
        s->stalled_until = w->step + sim_below(&w->random, STALL_STEPS);
        sim_say("shard %u stalls", s->number);
    }
    if (happens(w, SIM_IDLE))
        sim_world_pass(w, 500 + sim_below(&w->random, 8000));
    if (sim_below(&w->random, 10) == 0)
        change_space(w);
    fail_disk(w);
    damage(w);
    if (w->up && happens(w, SIM_RESTART))
        sim_world_stop(w);
    else if (w->up && happens(w, SIM_CRASH))
        sim_world_crash(w);
}

/* -- steps */

static void try_start(struct sim_world *w)
{
    if (sim_below(&w->random, 3))
        return;
    if (happens(w, SIM_RECRASH)) {
        struct sim_shard *s = some_shard(w);
        sim_file_fail_write(s->disk, 1 + sim_below(&w->random, 3), -PARLEY_ERR_IO);
        sim_file_fail_sync(s->disk, 1 + sim_below(&w->random, 6), -PARLEY_ERR_IO);
        w->may_die = true;
    }
    (void)sim_world_start(w);
}

static void act(struct schedule *schedule)
{
    struct sim_world *w = &schedule->world;
    struct sim_shard *s = some_shard(w);
    uint32_t device = sim_below(&w->random, w->plan->devices);
    uint32_t at = sim_below(&w->random, schedule->weight), act = 0;
    while (at >= schedule->weights[act])
        at -= schedule->weights[act++];
    switch ((enum act)act) {
    case ACT_TURN:
        if (w->up && s->stalled_until <= w->step)
            sim_world_turn(w, s, 1 + sim_below(&w->random, 8));
        break;
    case ACT_SYNC:
        if (w->up)
            sim_world_sync(w, s);
        if (w->up && !w->dying && s->astray && !sim_file_misdirecting(s->disk) &&
            !sim_file_in_flight(s->disk)) {
            s->astray = false; /* what comes after it would show that it is missing */
            if (sim_below(&w->random, 4))
                sim_world_crash(w);
        }
        break;
    case ACT_CARRY:
        (void)sim_world_carry(w, sim_device_hear, w);
        break;
    case ACT_COMMAND:
        sim_device_command(w, device);
        break;
    case ACT_AGAIN:
        sim_device_again(w);
        break;
    case ACT_READ:
        sim_device_read(w, device);
        break;
    case ACT_SESSION:
        sim_session_step(w, device);
        break;
    default:
        sim_world_pass(w, 5 + sim_below(&w->random, 300));
        break;
    }
}

static void draw_weights(struct schedule *schedule)
{
    static const uint32_t usual[ACT_COUNT] = {40, 25, 40, 14, 5, 5, 8, 50};
    static const uint32_t times_four[] = {1, 2, 4, 4, 12};
    for (uint32_t i = 0; i < ACT_COUNT; i++) {
        schedule->weights[i] = usual[i] * times_four[sim_below(&schedule->world.random, 5)];
        schedule->weight += schedule->weights[i];
    }
}

/* It comes before the first fault. */
static void gather(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->crowd; i += CROWD_AT_ONCE) {
        sim_device_crowd(w, i, CROWD_AT_ONCE);
        sim_must(sim_rest_come(w), "rest", "a crowd does not come");
    }
}

/* Conversations to begin with: a run of its first refusals shows little. */
static void prepare(struct sim_world *w)
{
    for (uint32_t i = 0; i < w->plan->conversations / 2; i++)
        sim_device_create(w, i % w->plan->devices);
    sim_must(sim_rest_come(w), "rest", "the first commands are not answered");
    gather(w);
    sim_world_rouse(w);
}

static void digests(const struct sim_world *w, uint64_t out[SIM_SHARDS_MAX])
{
    for (uint32_t n = 0; n < w->plan->shards; n++)
        out[n] = sim_store_digest_now(w->shards[n].store_dir);
}

/* At rest a crash loses nothing, changes nothing, and is followed by the same rows. */
static bool end(struct sim_world *w)
{
    uint64_t before[SIM_SHARDS_MAX], after[SIM_SHARDS_MAX];
    if (!sim_rest_come(w))
        return false;
    sim_rest_audit(w);
    if (!sim_rest_come(w))
        return false;
    digests(w, before);
    sim_world_crash(w);
    if (!sim_rest_come(w))
        return false;
    digests(w, after);
    bool whole_dedup = w->plan->dedup_entries_max >= w->oracle.op_count;
    for (uint32_t n = 0; n < w->plan->shards && whole_dedup && !w->damaged; n++)
        sim_must(before[n] == after[n], "replay", "shard %u: a crash at rest has changed rows", n);
    sim_rest_audit(w);
    return true;
}

void sim_schedule_run(const struct sim_plan *plan)
{
    static struct schedule schedule;
    struct sim_world *w = &schedule.world;
    schedule = (struct schedule){0};
    sim_world_init(w, plan);
    draw_weights(&schedule);
    parley_assert(sim_world_start(w));
    prepare(w);
    for (w->step = 1; w->step <= plan->steps && !w->refused; w->step++) {
        sim_trace_step(w->step);
        sim_world_pass(w, sim_below(&w->random, 4));
        if (w->up)
            act(&schedule);
        else
            try_start(w);
        if (w->dying)
            sim_world_crash(w);
        if (!w->refused)
            faults(w);
    }
    if (!w->refused)
        (void)end(w);
    sim_world_clear(w);
}

#include "tests/sim/sim_plan.h"

#include <string.h>

enum { STEPS = 6000, FORGET_NEVER = 100000, ONE_CROWD_IN = 1 };

static const struct {
    const char *name;
    uint32_t rate;
} faults[SIM_FAULT_COUNT] = {
#define X(name, text, rate) {text, rate},
    SIM_FAULTS(X)
#undef X
};

uint64_t sim_next(struct sim_random *r)
{
    uint64_t z = (r->state += 0x9e3779b97f4a7c15u); /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint32_t sim_below(struct sim_random *r, uint32_t n)
{
    return (uint32_t)(sim_next(r) % n);
}

bool sim_chance(struct sim_random *r, uint32_t per_ten_thousand)
{
    return sim_below(r, 10000) < per_ten_thousand;
}

const char *sim_fault_name(enum sim_fault fault)
{
    return faults[fault].name;
}

enum sim_fault sim_fault_named(const char *name)
{
    uint32_t i = 0;
    while (i < SIM_FAULT_COUNT && strcmp(faults[i].name, name) != 0)
        i++;
    return (enum sim_fault)i;
}

/* Damage ends a run early, so most runs have none. */
static bool damages(uint32_t fault)
{
    return fault == SIM_FLIP || fault == SIM_FLIP_LAST || fault == SIM_ROT || fault == SIM_MISDIRECT;
}

static void draw_rates(struct sim_random *r, struct sim_plan *p)
{
    static const uint32_t times_ten[] = {0, 3, 10, 10, 10, 40};
    bool damaged = sim_below(r, 5) == 0;
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        uint32_t rate = faults[i].rate * times_ten[sim_below(r, PARLEY_ARRAY_COUNT(times_ten))] / 10;
        p->rate[i] = damages(i) && !damaged ? 0 : rate < 10000 ? rate : 9000;
    }
}

/* So many members that sessions follow the conversation, or begin to when some more come (MACHINE_LARGE_PAGES,
 * MACHINE_FANOUT_PAGES_MAX); with room enough for them to come at once. */
static void draw_crowd(struct sim_random *r, struct sim_plan *p)
{
    p->crowd = sim_below(r, 3) ? 1010 + sim_below(r, 30) : 490 + sim_below(r, 30);
    p->users = p->crowd + 100;
    p->conversations = 2 + sim_below(r, 2);
    p->requests_max = 64;
    p->inbox_max = 32;
    p->segment_bytes = 64 << 10;
    p->log_bytes_max = p->segment_bytes * 16;
    p->dirty_bytes_max = p->memory_bytes_max = 256 << 10;
}

void sim_plan_draw(uint64_t seed, struct sim_plan *p)
{
    struct sim_random random = {seed * 2 + 1}, *r = &random;
    *p = (struct sim_plan){.seed = seed, .steps = STEPS};
    p->shards = 1 + sim_below(r, 4);
    p->users = 3 + sim_below(r, 8);
    if (sim_below(r, 10) == 0) /* pages of members are split */
        p->users = 200 + sim_below(r, 100);
    p->devices = 2 + sim_below(r, 8);
    p->conversations = 2 + sim_below(r, 8);
    p->segment_bytes = (4 + sim_below(r, 12)) * 4096;
    p->log_bytes_max = p->segment_bytes * (4 + sim_below(r, 6));
    p->memory_bytes_max = 4096u << sim_below(r, 7);
    p->dirty_bytes_max = 2048u << sim_below(r, 8);
    p->requests_max = 4u << sim_below(r, 5);
    p->inbox_max = 2u << sim_below(r, 5);
    p->dedup_entries_max = sim_below(r, 8) ? FORGET_NEVER : 64 + sim_below(r, 100);
    p->group_members_max = sim_below(r, 3) ? 1000 : 4 + sim_below(r, 4);
    p->body_bytes_max = 512u << sim_below(r, 6);
    if (p->body_bytes_max > p->segment_bytes / 2) /* a record fits a block, and a block a segment */
        p->body_bytes_max = p->segment_bytes / 2;
    p->batch_bytes = sim_below(r, 3) ? 256u << sim_below(r, 6) : 0;
    p->large_bodies = sim_below(r, 2) ? 1 : 4 + sim_below(r, 8);
    p->reactors = 1 + sim_below(r, p->shards);
    p->live_slots = 2u << sim_below(r, 6);
    p->request_slots = 2u << sim_below(r, 4);
    p->byte_weight = 1u << 2 * sim_below(r, 6);
    p->wire_bytes = 128u << sim_below(r, 8);
    p->services = sim_below(r, 3) == 0;
    if (sim_below(r, ONE_CROWD_IN) == 0)
        draw_crowd(r, p);
    draw_rates(r, p);
}

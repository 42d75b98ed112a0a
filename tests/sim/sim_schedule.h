/* tests/sim/sim_schedule.h: one run: a plan's steps, one after the other, then rest and the audit. */
#ifndef PARLEY_TESTS_SIM_SCHEDULE_H
#define PARLEY_TESTS_SIM_SCHEDULE_H

#include "tests/sim/sim_plan.h"

/* Ends the process when a promise is broken (sim_trace.h). */
void sim_schedule_run(const struct sim_plan *plan);

#endif

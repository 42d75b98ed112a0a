/* src/server/start_gate.h: reactors begin together.
 *
 * Why:    shards replay at the same time, each on its own core; but nobody is served before all of them are open and
 *         agree, and no reactor may run while another one gives up.
 * Shape:  each reactor: gate_arrive(its error), step by step; who starts them: gate_wait (all have arrived), looks at what they
 *         did, gate_open(its error). One error anywhere ends the start for all.
 * Errors: the first that any of them brought, whatever it is.
 * Thread: gate_arrive: a reactor's; the others: the one that starts them. What was written before the gate is seen
 *         behind it.
 */
#ifndef PARLEY_SERVER_START_GATE_H
#define PARLEY_SERVER_START_GATE_H

#include <pthread.h>

#include "src/base/base.h"

struct start_gate {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t count, arrived, step;
    int err; /* the first; it stays */
};

void start_gate_init(struct start_gate *gate, uint32_t count);
void start_gate_dispose(struct start_gate *gate);
/* Waits until the gate opens. 0, or the first error of all: give back everything and end. */
PARLEY_MUST_USE int start_gate_arrive(struct start_gate *gate, int err);
/* Waits until all have arrived, or one has failed. Answers the first error. */
PARLEY_MUST_USE int start_gate_wait(struct start_gate *gate);
/* Lets them go on; with an error, now or later: to their end. Answers the first error. */
int start_gate_open(struct start_gate *gate, int err);

#endif

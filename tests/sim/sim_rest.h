/* tests/sim/sim_rest.h: when faults end: all comes to rest, and then all that can be read is what the logs say.
 */
#ifndef PARLEY_TESTS_SIM_REST_H
#define PARLEY_TESTS_SIM_REST_H

#include "tests/sim/sim_world.h"

/* Until everything is answered, written back and derived. False: it refuses to start. */
bool sim_rest_come(struct sim_world *w);
/* Reads everything, at rest. */
void sim_rest_audit(struct sim_world *w);

#endif

/* tests/sim/sim_device.h: many devices: what they ask, ask again, and make of the answers.
 *
 * Why:    a promise is made to a client, so what counts is what clients were told.
 * Shape:  each device is a user's; its commands are ops (sim_op.h), open until it knows how they ended.
 */
#ifndef PARLEY_TESTS_SIM_DEVICE_H
#define PARLEY_TESTS_SIM_DEVICE_H

#include "tests/sim/sim_world.h"

/* A new command, or none when the device waits for too many. */
void sim_device_command(struct sim_world *w, uint32_t device);
/* A conversation is created, if there is room for one more. */
void sim_device_create(struct sim_world *w, uint32_t device);
/* A service adds so many users to the first conversation, which is a channel; from that user on. */
void sim_device_crowd(struct sim_world *w, uint32_t first, uint32_t count);
/* Asks again for something that is open, or that it knows already. */
void sim_device_again(struct sim_world *w);
/* It was told how the op ended, and the server must still know. */
bool sim_device_knows(const struct sim_world *w, const struct sim_op *op);
/* A connection's answer to a send: how the command of that client id ended. */
void sim_device_told(struct sim_world *w, struct span client_id, int err, uint64_t id, uint64_t seq);
void sim_device_read(struct sim_world *w, uint32_t device);
/* All that is open and of which no copy is on its way. Answers how many are open. */
uint32_t sim_device_ask_open(struct sim_world *w);
/* An answer arrives; a sim_heard_fn. */
void sim_device_hear(void *owner, struct sim_call *call);
/* Nothing is on its way: refusals are final. */
void sim_device_settle(struct sim_world *w);

#endif

/* tests/sim/sim_check.h: the promises, one check each; whichever is broken ends the run with its name.
 *
 *   log      what was committed is in the log, the same, after any crash
 *   ids      an event's id is above all before it, and above the ceiling that the start found; ceilings cover ids
 *   seq      messages are numbered 1, 2, 3 ...
 *   content  an event says what was asked for, and what follows from it
 *   once     a retry makes no second event
 *   rules    nothing is committed that roles, membership or limits forbid
 *   refused  what was refused for good is in no log
 *   answer   an answer is true of some committed state between question and answer: no id before its event is durable, no
 *            refusal that rests on nothing, no page that lacks a message or has a foreign one, nobody reads what he may not
 *   stable   who asks again is told the same
 *   order    messages are numbered in the order in which they came
 *   lists    whose membership was answered finds it in his list; at rest lists are what the logs say
 *   history  at rest all messages, members, counts and names are what the logs say
 *   live     who is connected and follows the protocol is told all that concerns him, once and in order, or that something was
 *            lost; and nothing else (sim_live.h)
 *   trim     a log begins at or below what its store and all destinations have persisted
 *   bounds   no row, offset or redo says more than the log has
 *   limits   queues, dirty memory and logs stay within their limits
 *   fatal    a shard ends the process only for a reason, and starts again unless its data is damaged
 *   damage   damage is refused or reported
 *   replay   a crash at rest changes no row
 *   rest     when faults end, everything is answered and written back
 */
#ifndef PARLEY_TESTS_SIM_CHECK_H
#define PARLEY_TESTS_SIM_CHECK_H

#include "tests/sim/sim_world.h"

/* The call reaches its shard. */
void sim_check_arrival(struct sim_world *w, struct sim_call *call);
/* A shard has applied another event: what may be answered now? Lists rest on the events of all. */
void sim_check_outcomes(struct sim_world *w);
/* The shard answers it, and the process lives. */
void sim_check_answer(struct sim_world *w, struct sim_call *call);
/* The event's members are told of it. */
void sim_check_effect(struct sim_world *w, const struct shard_effect *effect);
/* After each turn. */
void sim_check_shard(struct sim_world *w, struct sim_shard *s);
/* The shard's store says that it has derived more of the source than the source's log has. */
bool sim_check_derived_more(const struct sim_shard *s, const struct sim_shard *source);
/* After a start: the log against all that was committed. False: it is damaged, and that is why. */
bool sim_check_log(struct sim_world *w, struct sim_shard *s);

#endif

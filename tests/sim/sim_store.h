/* tests/sim/sim_store.h: the simulated twin of storage/store.h and storage/reader_pool.h.
 *
 * Why:    a test decides when a batch is written, what is flushed, what is cached, and what a crash leaves.
 * Shape:  the same functions as the real ones, linked in their place (CMakeLists.txt); folders live on in this process until
 *         sim_store_forget, over any number of store_open and crashes.
 *         A batch is written, and a pool's job is run, by a poll with the odds given here; a flush takes all families at
 *         once, as atomic_flush does; a crash goes back to the last flush.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_STORE_H
#define PARLEY_TESTS_SIM_STORE_H

#include "storage/store.h"

/* Per thousand. */
struct sim_store_odds {
    uint32_t write; /* of each waiting batch, in order, at a poll */
    uint32_t flush; /* after a written batch */
    uint32_t cold;  /* that a CACHE read of anything must be asked again */
    uint32_t job;   /* that a job of the reader pool is run at a poll */
};

void sim_store_set(const struct sim_store_odds *odds, uint64_t seed);
/* Per thousand: batches and jobs that are refused because the queue is full. */
void sim_store_set_full(uint32_t per_thousand);
/* Per thousand: jobs that were run, and of which the reactor hears at a later poll only; below 1000. */
void sim_store_set_late(uint32_t per_thousand);
/* The process is gone: memtables are lost, what is open is dead until its close. */
void sim_store_crash(void);
void sim_store_forget(void);
void sim_store_set_pressure(enum store_pressure pressure);
/* The month that store_expect_month named last. */
uint32_t sim_store_expected_month(void);

/* What is flushed now, of all folders, is put aside, or comes back. Nothing is open. */
void sim_store_keep(void);
void sim_store_bring_back(void);
/* Damages every row of the family whose key begins so, by one byte of it at `at` (from the end when negative). Answers how
 * many. */
size_t sim_store_damage(const char *dir, enum store_family family, struct span key_prefix, int at);
/* As sim_store_damage, but takes the rows away. */
size_t sim_store_remove(const char *dir, enum store_family family, struct span key_prefix);

/* One flushed row rots: its block's checksum fails, so whoever reads it gets CORRUPT. False: there is none. */
bool sim_store_rot(const char *dir, uint64_t choice);

/* Of all flushed rows but META's. Filter rows count by their entries: how these were cut into operands depends on when
 * they were written. */
uint64_t sim_store_digest(const char *dir);
uint64_t sim_store_digest_now(const char *dir); /* of all rows, flushed or not */

#endif

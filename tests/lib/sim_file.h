/* tests/lib/sim_file.h: a file layer in memory that loses, tears and fails what a disk may lose, tear and
 * fail.
 *
 * Why:    the log's promises are about power cuts; here a power cut costs a microsecond and a seed repeats
 * it. Shape:  each file has what the process sees and what the disk surely holds. A crash keeps the latter
 * and, of everything unsynced or in flight, a random subset of 4 KiB sectors (with `tear_sectors` of 512-byte
 * ones) and a random subset of the unsynced renames, creations and unlinks. Thread: one. Same seed and same
 * calls: same run.
 */
#ifndef PARLEY_TESTS_LIB_SIM_FILE_H
#define PARLEY_TESTS_LIB_SIM_FILE_H

#include "storage/file.h"

struct sim_file;

/* Never NULL: a test that cannot allocate aborts. */
struct sim_file *sim_file_create(uint64_t seed);
void sim_file_destroy(struct sim_file **sim);
struct file_layer *sim_file_layer(struct sim_file *sim);
uint64_t sim_file_random(struct sim_file *sim);

/* While held, poll completes nothing by itself; with `wait` always at least one. */
void sim_file_hold(struct sim_file *sim, bool hold);
/* Completes the oldest `count` submitted writes; their callbacks run in the next poll. */
void sim_file_release(struct sim_file *sim, uint32_t count);
uint32_t sim_file_in_flight(const struct sim_file *sim);

/* The n-th write (submitted or not) or sync from now fails with `err`, and no other; n = 1 is the next. */
void sim_file_fail_write(struct sim_file *sim, uint64_t n, int err);
void sim_file_fail_sync(struct sim_file *sim, uint64_t n, int err);
/* While it is full, blocking writes fail: whoever submits one writes into space that it has already. */
void sim_file_set_full(struct sim_file *sim, bool full);
/* The next submitted write goes to some other place of its file, and says that all is well. */
void sim_file_misdirect(struct sim_file *sim);
bool sim_file_misdirecting(const struct sim_file *sim); /* it has not been submitted yet */
uint64_t sim_file_write_count(const struct sim_file *sim);
uint64_t sim_file_sync_count(const struct sim_file *sim);

/* Power off: every call fails until sim_file_restart. Descriptors are gone. */
void sim_file_crash(struct sim_file *sim, bool tear_sectors);
void sim_file_restart(struct sim_file *sim);

/* Handling the disk: files by path. Answer whether it is there. */
bool sim_file_flip(struct sim_file *sim, const char *path, uint64_t bit);
bool sim_file_truncate(struct sim_file *sim, const char *path, uint64_t bytes);
bool sim_file_bytes(struct sim_file *sim, const char *path, uint8_t **data, uint64_t *len);
/* A copy of the whole disk, and back. */
struct sim_file *sim_file_clone(const struct sim_file *sim);
/* The first path that ends so, or NULL; `skip` of them are passed over, in order of name. */
const char *sim_file_find(const struct sim_file *sim, const char *suffix, uint32_t skip);

#endif

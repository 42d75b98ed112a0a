/* storage/reader_pool.h: threads that may block on the disk, so that reactors never do.
 *
 * Why:    one slow history page must not hold up the load that a write waits for.
 * Shape:  reader_pool_submit -> [queue of the class] -> run(owner) on a pool thread -> [list of the reactor]
 * -> wake
 *         -> reader_pool_poll on that reactor -> done(owner)
 *         LOAD has threads of its own; the shared threads take CONSUMER and HISTORY in turn, LOAD when there
 * is neither: so no class starves another. Owner:  the caller owns the job's memory and leaves it alone from
 * submit until its `done`. Limits: a class holds at most job_count_max jobs, from submit until polled.
 * Thread: create and destroy: whoever owns the pool; the others: as each one says.
 */
#ifndef PARLEY_STORAGE_READER_POOL_H
#define PARLEY_STORAGE_READER_POOL_H

#include "src/base/base.h"

enum reader_class {
    READER_LOAD,     /* what a write needs to be decided */
    READER_CONSUMER, /* timelines, push, webhooks */
    READER_HISTORY,  /* pages and syncs */
    READER_CLASS_COUNT
};

struct reader_job {
    void (*run)(void *owner);  /* on a pool thread */
    void (*done)(void *owner); /* on the reactor that submitted; may submit again or free the job */
    void *owner;
    /* The pool's: */
    struct reader_job *next;
    enum reader_class class;
    uint32_t reactor;
};

struct reader_pool_options {
    uint32_t load_thread_count;                 /* reserved for LOAD; default 1 when 0 */
    uint32_t shared_thread_count;               /* default 2 when 0 */
    uint32_t job_count_max[READER_CLASS_COUNT]; /* default 1024 when 0 */
    uint32_t reactor_count;
};

struct reader_pool;

PARLEY_MUST_USE int reader_pool_create(const struct reader_pool_options *options, struct reader_pool **out);
/* Runs everything that was submitted, ends the threads, then runs what `done`s are left on this thread: the
 * reactors have ended, or this is the only one. */
void reader_pool_destroy(struct reader_pool **pool);

/* Before the reactor's first submit. `wake` is called from pool threads when reader_pool_poll has something
 * to do. */
void reader_pool_attach(struct reader_pool *pool, uint32_t reactor, void (*wake)(void *owner), void *owner);
/* Errors: -PARLEY_ERR_FULL: refuse the work that needed it, or try later. -PARLEY_ERR_CLOSING. */
PARLEY_MUST_USE int reader_pool_submit(struct reader_pool *pool, uint32_t reactor, enum reader_class class,
                                       struct reader_job *job);
/* The reactor's own thread: runs `done` of finished jobs. Answers how many. */
size_t reader_pool_poll(struct reader_pool *pool, uint32_t reactor);
/* Jobs of the class between submit and poll. */
uint32_t reader_pool_job_count(struct reader_pool *pool, enum reader_class class);

#endif

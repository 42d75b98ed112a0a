/* The reader pool: classes, limits, the way back, and draining. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "storage/reader_pool.h"

enum { JOBS = 200 };

struct work {
    struct reader_job job;
    pthread_t ran_on, done_on;
    atomic_bool *gate; /* run waits for it */
    atomic_int *started;
    bool done;
};

static atomic_int wakes;

static void count_wake(void *owner)
{
    atomic_fetch_add((atomic_int *)owner, 1);
}

static void work_run(void *owner)
{
    struct work *work = owner;
    work->ran_on = pthread_self();
    if (work->started)
        atomic_fetch_add(work->started, 1);
    while (work->gate && !atomic_load(work->gate))
        usleep(200);
}

static void work_done(void *owner)
{
    struct work *work = owner;
    work->done_on = pthread_self();
    work->done = true;
}

static struct reader_job *job_of(struct work *work)
{
    work->job.run = work_run;
    work->job.done = work_done;
    work->job.owner = work;
    return &work->job;
}

static struct reader_pool *pool_of(struct reader_pool_options options)
{
    struct reader_pool *pool;
    assert_int_equal(reader_pool_create(&options, &pool), 0);
    for (uint32_t r = 0; r < options.reactor_count; r++)
        reader_pool_attach(pool, r, count_wake, &wakes);
    return pool;
}

static void poll_until(struct reader_pool *pool, uint32_t reactor, size_t count)
{
    for (int i = 0; count && i < 50000; i++) {
        count -= reader_pool_poll(pool, reactor);
        usleep(count ? 100 : 0);
    }
    assert_int_equal(count, 0);
}

static void wait_for(atomic_int *what, int value)
{
    for (int i = 0; atomic_load(what) < value && i < 50000; i++)
        usleep(100);
    assert_true(atomic_load(what) >= value);
}

static void jobs_run_elsewhere_and_come_back_to_their_reactor(void **state)
{
    (void)state;
    static struct work works[JOBS];
    struct reader_pool *pool = pool_of((struct reader_pool_options){.reactor_count = 2});
    atomic_store(&wakes, 0);
    for (int i = 0; i < JOBS; i++) {
        works[i] = (struct work){0};
        assert_int_equal(reader_pool_submit(pool, (uint32_t)i % 2,
                                            (enum reader_class)(i % READER_CLASS_COUNT), job_of(&works[i])),
                         0);
    }
    poll_until(pool, 0, JOBS / 2);
    poll_until(pool, 1, JOBS / 2);
    assert_true(atomic_load(&wakes) >= 2);
    for (int i = 0; i < JOBS; i++) {
        assert_true(works[i].done);
        assert_false(pthread_equal(works[i].ran_on, pthread_self()));
        assert_true(pthread_equal(works[i].done_on, pthread_self()));
    }
    for (int c = 0; c < READER_CLASS_COUNT; c++)
        assert_int_equal(reader_pool_job_count(pool, (enum reader_class)c), 0);
    reader_pool_destroy(&pool);
    assert_null(pool);
}

static void a_full_class_refuses_and_others_do_not(void **state)
{
    (void)state;
    atomic_bool gate = false;
    struct work works[4] = {0};
    struct reader_pool *pool =
        pool_of((struct reader_pool_options){.reactor_count = 1, .job_count_max = {8, 8, 2}});
    for (int i = 0; i < 4; i++)
        works[i].gate = &gate;
    assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&works[0])), 0);
    assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&works[1])), 0);
    assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&works[2])), -PARLEY_ERR_FULL);
    assert_int_equal(reader_pool_submit(pool, 0, READER_CONSUMER, job_of(&works[3])), 0);
    atomic_store(&gate, true);
    poll_until(pool, 0, 3);
    assert_false(works[2].done);
    assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&works[2])), 0);
    poll_until(pool, 0, 1);
    reader_pool_destroy(&pool);
}

static void loads_run_while_history_blocks_every_shared_thread(void **state)
{
    (void)state;
    atomic_bool gate = false;
    atomic_int started = 0;
    struct work slow[6] = {0}, load = {0};
    struct reader_pool *pool = pool_of((struct reader_pool_options){.reactor_count = 1});
    for (int i = 0; i < 6; i++) {
        slow[i].gate = &gate;
        slow[i].started = &started;
        assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&slow[i])), 0);
    }
    wait_for(&started, 2); /* both shared threads are in there */
    assert_int_equal(reader_pool_submit(pool, 0, READER_LOAD, job_of(&load)), 0);
    poll_until(pool, 0, 1);
    assert_true(load.done);
    assert_int_equal(atomic_load(&started), 2);
    atomic_store(&gate, true);
    poll_until(pool, 0, 6);
    reader_pool_destroy(&pool);
}

static void consumers_and_history_take_turns(void **state)
{
    (void)state;
    atomic_bool gate = false, never = true;
    atomic_int blocked = 0, history = 0, consumers = 0;
    static struct work first, pages[50], one;
    struct reader_pool *pool =
        pool_of((struct reader_pool_options){.reactor_count = 1, .shared_thread_count = 1});
    first = (struct work){.gate = &gate, .started = &blocked};
    assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&first)), 0);
    wait_for(&blocked, 1);
    for (int i = 0; i < 50; i++) {
        pages[i] = (struct work){.gate = i == 1 ? &gate : &never, .started = &history};
        assert_int_equal(reader_pool_submit(pool, 0, READER_HISTORY, job_of(&pages[i])), 0);
    }
    atomic_bool second_gate = false;
    pages[1].gate = &second_gate; /* the second page blocks: the consumer must have been served before it */
    one = (struct work){.started = &consumers};
    assert_int_equal(reader_pool_submit(pool, 0, READER_CONSUMER, job_of(&one)), 0);
    atomic_store(&gate, true);
    wait_for(&history, 2);
    assert_int_equal(atomic_load(&consumers), 1);
    atomic_store(&second_gate, true);
    poll_until(pool, 0, 52);
    reader_pool_destroy(&pool);
}

static void destroy_drains(void **state)
{
    (void)state;
    static struct work works[JOBS];
    struct reader_pool *pool = pool_of((struct reader_pool_options){.reactor_count = 1});
    for (int i = 0; i < JOBS; i++) {
        works[i] = (struct work){0};
        assert_int_equal(
            reader_pool_submit(pool, 0, (enum reader_class)(i % READER_CLASS_COUNT), job_of(&works[i])), 0);
    }
    reader_pool_destroy(&pool);
    for (int i = 0; i < JOBS; i++)
        assert_true(works[i].done);
    reader_pool_destroy(&pool); /* of nothing */
}

static void creation_survives_each_failed_allocation(void **state)
{
    (void)state;
    struct reader_pool_options options = {.reactor_count = 2};
    for (uint64_t n = 0;; n++) {
        struct reader_pool *pool;
        memory_fail_after(n, 1);
        int err = reader_pool_create(&options, &pool);
        memory_fail_after(0, 0);
        reader_pool_destroy(&pool);
        if (!err) {
            assert_true(n >= 3);
            return;
        }
        assert_int_equal(err, -PARLEY_ERR_NOMEM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_elsewhere_and_come_back_to_their_reactor),
        cmocka_unit_test(a_full_class_refuses_and_others_do_not),
        cmocka_unit_test(loads_run_while_history_blocks_every_shared_thread),
        cmocka_unit_test(consumers_and_history_take_turns),
        cmocka_unit_test(destroy_drains),
        cmocka_unit_test(creation_survives_each_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* All go on together, or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/server/start_gate.h"

enum { COUNT = 4, STEPS = 3 };

struct seat {
    struct start_gate *gate;
    pthread_t thread;
    int fails_at; /* a step, or STEPS: never */
    int err;
    atomic_int passed;
};

static void *run(void *owner)
{
    struct seat *seat = owner;
    for (int step = 0; step < STEPS && !seat->err; step++) {
        seat->err = start_gate_arrive(seat->gate, step == seat->fails_at ? -PARLEY_ERR_CORRUPT : 0);
        atomic_fetch_add(&seat->passed, !seat->err);
    }
    return NULL;
}

static void start(struct start_gate *gate, struct seat seats[COUNT], int failing, int fails_at)
{
    start_gate_init(gate, COUNT);
    for (int i = 0; i < COUNT; i++) {
        seats[i] = (struct seat){.gate = gate, .fails_at = i == failing ? fails_at : STEPS};
        assert_int_equal(pthread_create(&seats[i].thread, NULL, run, &seats[i]), 0);
    }
}

/* With an error some may hear of it a step early. */
static void end(struct start_gate *gate, struct seat seats[COUNT], int err, int passed)
{
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(pthread_join(seats[i].thread, NULL), 0);
        assert_int_equal(seats[i].err, err);
        assert_in_range(seats[i].passed, err ? 0 : passed, passed);
    }
    start_gate_dispose(gate);
}

static void nobody_passes_before_the_gate_opens(void **state)
{
    (void)state;
    struct start_gate gate;
    struct seat seats[COUNT];
    start(&gate, seats, COUNT, 0);
    for (int step = 0; step < STEPS; step++) {
        assert_int_equal(start_gate_wait(&gate), 0);
        for (int i = 0; i < COUNT; i++)
            assert_int_equal(seats[i].passed, step);
        assert_int_equal(start_gate_open(&gate, 0), 0);
    }
    end(&gate, seats, 0, STEPS);
}

static void one_that_fails_ends_all(void **state)
{
    (void)state;
    for (int fails_at = 0; fails_at < STEPS; fails_at++) {
        struct start_gate gate;
        struct seat seats[COUNT];
        start(&gate, seats, 2, fails_at);
        for (int step = 0; step < fails_at; step++) {
            assert_int_equal(start_gate_wait(&gate), 0);
            assert_int_equal(start_gate_open(&gate, 0), 0);
        }
        assert_int_equal(start_gate_wait(&gate), -PARLEY_ERR_CORRUPT);
        end(&gate, seats, -PARLEY_ERR_CORRUPT, fails_at);
    }
}

static void who_starts_them_may_say_no(void **state)
{
    (void)state;
    struct start_gate gate;
    struct seat seats[COUNT];
    start(&gate, seats, COUNT, 0);
    assert_int_equal(start_gate_wait(&gate), 0);
    assert_int_equal(start_gate_open(&gate, -PARLEY_ERR_LOST), -PARLEY_ERR_LOST);
    end(&gate, seats, -PARLEY_ERR_LOST, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_passes_before_the_gate_opens),
        cmocka_unit_test(one_that_fails_ends_all),
        cmocka_unit_test(who_starts_them_may_say_no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

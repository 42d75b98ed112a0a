/* The ring between two cores: order, bounds, and two real threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <pthread.h>
#include <sched.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/reactor/ring_queue.h"

enum { THREADED_MESSAGE_COUNT = 1000000, THREADED_SLOT_COUNT = 64 };

static void a_full_ring_refuses_and_an_empty_one_answers_nothing(void **state)
{
    (void)state;
    struct ring_queue *queue = NULL;
    struct ring_slot slot = {{0}};
    assert_int_equal(ring_queue_create(4, &queue), 0);
    uint64_t pushed = 0, popped = 0;
    for (int lap = 0; lap < 100; lap++) {
        while (slot.words[0] = pushed, ring_queue_push(queue, &slot) == 0)
            pushed++;
        assert_int_equal(pushed - popped, 4);
        assert_int_equal(ring_queue_count(queue), 4);
        for (int i = 0; i < 1 + lap % 4; i++) {
            assert_true(ring_queue_pop(queue, &slot));
            assert_int_equal(slot.words[0], popped++);
        }
    }
    while (ring_queue_pop(queue, &slot))
        assert_int_equal(slot.words[0], popped++);
    assert_int_equal(pushed, popped);
    assert_int_equal(ring_queue_count(queue), 0);
    ring_queue_destroy(&queue);
    assert_null(queue);
}

static void only_powers_of_two_are_sizes(void **state)
{
    (void)state;
    struct ring_queue *queue = NULL;
    assert_int_equal(ring_queue_create(0, &queue), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(ring_queue_create(3, &queue), -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(ring_queue_create(RING_QUEUE_SLOT_COUNT_MAX * 2u, &queue), -PARLEY_ERR_BAD_REQUEST);
    memory_fail_after(0, 1);
    assert_int_equal(ring_queue_create(2, &queue), -PARLEY_ERR_NOMEM);
    memory_fail_after(0, 0);
    assert_null(queue);
}

static void *produce(void *arg)
{
    struct ring_queue *queue = arg;
    for (uint64_t i = 0; i < THREADED_MESSAGE_COUNT; i++) {
        struct ring_slot slot;
        for (size_t w = 0; w < PARLEY_ARRAY_COUNT(slot.words); w++)
            slot.words[w] = i * 8 + w;
        while (ring_queue_push(queue, &slot) != 0)
            sched_yield();
    }
    return NULL;
}

static void two_threads_keep_a_million_messages_whole_and_in_order(void **state)
{
    (void)state;
    struct ring_queue *queue = NULL;
    assert_int_equal(ring_queue_create(THREADED_SLOT_COUNT, &queue), 0);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, queue), 0);
    uint64_t wrong = 0;
    for (uint64_t i = 0; i < THREADED_MESSAGE_COUNT;) {
        struct ring_slot slot;
        if (!ring_queue_pop(queue, &slot)) {
            sched_yield();
            continue;
        }
        for (size_t w = 0; w < PARLEY_ARRAY_COUNT(slot.words); w++)
            wrong += slot.words[w] != i * 8 + w;
        i++;
    }
    pthread_join(producer, NULL);
    assert_int_equal(wrong, 0);
    assert_int_equal(ring_queue_count(queue), 0);
    ring_queue_destroy(&queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_ring_refuses_and_an_empty_one_answers_nothing),
        cmocka_unit_test(only_powers_of_two_are_sizes),
        cmocka_unit_test(two_threads_keep_a_million_messages_whole_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

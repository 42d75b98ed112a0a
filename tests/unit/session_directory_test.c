/* The directory against a plain count, and the table of subscribers while it grows and without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/session/directory.h"
#include "src/session/subscriber_table.h"

enum { REACTORS = 5, KEYS = 300, STEPS = 100000, SUBSCRIBERS = 1000 };

static struct id16 key_of(uint32_t n)
{
    struct id16 key = {{0}};
    n *= 2654435761u;
    memcpy(key.bytes, &n, sizeof n);
    return key;
}

static void counts_agree_with_a_plain_table(void **state)
{
    (void)state;
    static uint32_t want[KEYS][REACTORS];
    struct directory d;
    uint32_t seed = 7;
    assert_int_equal(directory_init(&d, REACTORS), 0);
    for (uint32_t step = 0; step < STEPS; step++) {
        seed = seed * 1664525u + 1013904223u;
        uint32_t k = (seed >> 8) % KEYS;
        uint16_t r = (uint16_t)((seed >> 20) % REACTORS);
        struct id16 key = key_of(k);
        if ((seed >> 28) & 1) {
            assert_int_equal(directory_add(&d, &key, r), 0);
            want[k][r]++;
        } else if (want[k][r]) {
            directory_remove(&d, &key, r);
            want[k][r]--;
        }
    }
    uint32_t entries = 0;
    for (uint32_t k = 0; k < KEYS; k++) {
        struct id16 key = key_of(k);
        uint32_t found = 0;
        for (const struct directory_entry *e = directory_find(&d, &key); e; e = directory_next(e), found++)
            assert_int_equal(e->count, want[k][e->reactor]);
        for (uint16_t r = 0; r < REACTORS; r++)
            found -= want[k][r] > 0;
        assert_int_equal(found, 0);
    }
    for (uint16_t r = 0; r < REACTORS; r++)
        entries += d.of_reactor[r];
    assert_int_equal(entries, d.entry_count);
    directory_dispose(&d);
}

static void a_directory_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct directory d;
    struct id16 key = key_of(1);
    for (uint64_t n = 0; n < 2; n++) {
        memory_fail_after(n, 1);
        assert_int_equal(directory_init(&d, REACTORS), -PARLEY_ERR_NOMEM);
    }
    memory_fail_after(0, 0);
    assert_int_equal(directory_init(&d, REACTORS), 0);
    memory_fail_after(0, 1);
    assert_int_equal(directory_add(&d, &key, 0), -PARLEY_ERR_NOMEM);
    memory_fail_after(0, 0);
    assert_null(directory_find(&d, &key));
    directory_dispose(&d);
}

static void the_table_finds_all_of_a_key_whether_it_grows_or_cannot(void **state)
{
    (void)state;
    static struct subscriber all[SUBSCRIBERS];
    for (int starve = 0; starve < 2; starve++) {
        struct subscriber_table t;
        assert_int_equal(subscriber_table_init(&t), 0);
        memory_fail_after(0, starve ? UINT64_MAX : 0);
        for (uint32_t i = 0; i < SUBSCRIBERS; i++) {
            all[i] = (struct subscriber){.key = key_of(i / 3)};
            subscriber_table_add(&t, &all[i]);
        }
        memory_fail_after(0, 0);
        assert_int_equal(t.bucket_count, starve ? 64 : 1024);
        for (uint32_t i = 0; i < SUBSCRIBERS; i += 3)
            subscriber_table_remove(&t, &all[i]);
        for (uint32_t k = 0; k < SUBSCRIBERS / 3; k++) {
            struct id16 key = key_of(k);
            uint32_t found = 0;
            for (struct subscriber *s = subscriber_table_find(&t, &key); s;
                 s = subscriber_table_next(s), found++)
                assert_true(s == &all[3 * k + 1] || s == &all[3 * k + 2]);
            assert_int_equal(found, 2);
        }
        subscriber_table_dispose(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_agree_with_a_plain_table),
        cmocka_unit_test(a_directory_without_memory_changes_nothing),
        cmocka_unit_test(the_table_finds_all_of_a_key_whether_it_grows_or_cannot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

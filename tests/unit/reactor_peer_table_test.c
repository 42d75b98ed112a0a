/* Counts of connections by address, against a plain list of all that is open. */
#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/reactor/peer_table.h"

enum { CONNECTIONS = 64, ROUNDS = 200000, PEER_MAX = 5 };

static uint64_t key_of(int family, const char *text)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    a.any.sa_family = (sa_family_t)family;
    void *to = family == AF_INET ? (void *)&a.v4.sin_addr : (void *)&a.v6.sin6_addr;
    assert_int_equal(inet_pton(family, text, to), 1);
    return peer_key(&a.any);
}

static void ipv4_is_exact_and_ipv6_is_its_64(void **state)
{
    (void)state;
    assert_true(key_of(AF_INET, "192.0.2.1") != key_of(AF_INET, "192.0.2.2"));
    assert_true(key_of(AF_INET, "192.0.2.1") == key_of(AF_INET6, "::ffff:192.0.2.1"));
    assert_true(key_of(AF_INET, "0.0.0.1") != key_of(AF_INET6, "::1"));
    assert_true(key_of(AF_INET6, "2001:db8:1:2::1") == key_of(AF_INET6, "2001:db8:1:2:ffff:ffff:ffff:ffff"));
    assert_true(key_of(AF_INET6, "2001:db8:1:2::1") != key_of(AF_INET6, "2001:db8:1:3::1"));
    assert_true(key_of(AF_INET6, "2001:db8:1:2::1") != key_of(AF_INET6, "2001:db9:1:2::1"));
}

static void each_has_his_cap_and_gets_his_places_back(void **state)
{
    (void)state;
    struct peer_table *table;
    assert_int_equal(peer_table_create(4, &table), 0);
    assert_true(peer_table_take(table, 1, 2));
    assert_true(peer_table_take(table, 1, 2));
    assert_false(peer_table_take(table, 1, 2));
    assert_true(peer_table_take(table, 2, 2));
    peer_table_give(table, 1);
    assert_true(peer_table_take(table, 1, 2));
    assert_int_equal(peer_table_count(table, 1), 2);
    assert_int_equal(peer_table_count(table, 2), 1);
    assert_int_equal(peer_table_count(table, 3), 0);
    peer_table_destroy(&table);
    assert_null(table);
}

static void it_counts_like_a_list_however_they_come_and_go(void **state)
{
    (void)state;
    struct peer_table *table;
    uint64_t open[CONNECTIONS], random = 42;
    uint32_t open_count = 0;
    assert_int_equal(peer_table_create(CONNECTIONS, &table), 0);
    for (int round = 0; round < ROUNDS; round++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t key = random >> 33 & 63; /* as many as fit: long runs, that wrap around the end */
        uint32_t have = 0;
        for (uint32_t i = 0; i < open_count; i++)
            have += open[i] == key;
        assert_int_equal(peer_table_count(table, key), have);
        if (open_count < CONNECTIONS && random >> 63) {
            assert_int_equal(peer_table_take(table, key, PEER_MAX), have < PEER_MAX);
            if (have < PEER_MAX)
                open[open_count++] = key;
        } else if (open_count > 0) {
            uint32_t at = (uint32_t)(random >> 40) % open_count;
            peer_table_give(table, open[at]);
            open[at] = open[--open_count];
        }
    }
    peer_table_destroy(&table);
}

static void without_memory_there_is_no_table(void **state)
{
    (void)state;
    struct peer_table *table = NULL;
    memory_fail_after(0, 1);
    assert_int_equal(peer_table_create(4, &table), -PARLEY_ERR_NOMEM);
    memory_fail_after(0, 0);
    assert_null(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ipv4_is_exact_and_ipv6_is_its_64),
        cmocka_unit_test(each_has_his_cap_and_gets_his_places_back),
        cmocka_unit_test(it_counts_like_a_list_however_they_come_and_go),
        cmocka_unit_test(without_memory_there_is_no_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

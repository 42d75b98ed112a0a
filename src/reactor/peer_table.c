#include "src/reactor/peer_table.h"

#include <netinet/in.h>
#include <sodium.h>
#include <string.h>

#include "src/base/bytes.h"
#include "src/base/hash.h"
#include "src/base/error.h"
#include "src/base/memory.h"

struct peer {
    uint64_t key;
    uint32_t count; /* 0: a free place */
};

struct peer_table {
    struct hash_key hash_key;
    size_t mask;
    uint32_t connection_count, connection_max;
    struct peer peers[];
};

/* No IPv6 peer has it: a multicast prefix is nobody's address. */
static const uint64_t v4_prefix = 0xffff000000000000;

uint64_t peer_key(const struct sockaddr *peer)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    uint8_t prefix[8];
    if (peer->sa_family == AF_INET) {
        memcpy(&v4, peer, sizeof v4);
        return v4_prefix | ntohl(v4.sin_addr.s_addr);
    }
    memcpy(&v6, peer, sizeof v6);
    const uint8_t *a = v6.sin6_addr.s6_addr;
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
        return v4_prefix | (uint64_t)a[12] << 24 | (uint64_t)a[13] << 16 | (uint64_t)a[14] << 8 | a[15];
    memcpy(prefix, a, sizeof prefix);
    struct bytes_reader r = bytes_reader_of(prefix, sizeof prefix);
    return bytes_get_u64(&r);
}

int peer_table_create(uint32_t connection_max, struct peer_table **out)
{
    size_t room = 2;
    while (room < 2 * (size_t)connection_max) /* half of it stays free */
        room *= 2;
    struct peer_table *table = memory_zalloc(sizeof *table + room * sizeof table->peers[0]);
    if (!table)
        return -PARLEY_ERR_NOMEM;
    randombytes_buf(table->hash_key.bytes, sizeof table->hash_key.bytes);
    table->mask = room - 1;
    table->connection_max = connection_max;
    *out = table;
    return 0;
}

void peer_table_destroy(struct peer_table **table)
{
    memory_free(*table);
    *table = NULL;
}

/* Where the key would best be. */
static size_t home_of(const struct peer_table *table, uint64_t key)
{
    struct id16 hash = hash_128(&table->hash_key, &key, sizeof key);
    size_t at;
    memcpy(&at, hash.bytes, sizeof at);
    return at & table->mask;
}

/* Where it is, or where it would go. */
static size_t place_of(const struct peer_table *table, uint64_t key)
{
    size_t at = home_of(table, key);
    while (table->peers[at].count && table->peers[at].key != key)
        at = (at + 1) & table->mask;
    return at;
}

bool peer_table_take(struct peer_table *table, uint64_t key, uint32_t peer_max)
{
    struct peer *peer = &table->peers[place_of(table, key)];
    if (peer->count >= peer_max)
        return false;
    parley_assert(table->connection_count < table->connection_max);
    table->connection_count++;
    peer->key = key;
    peer->count++;
    return true;
}

/* Fills the free place with a later entry that looks for its own from at or before it, and so on. */
static void close_gap(struct peer_table *table, size_t gap)
{
    for (size_t at = (gap + 1) & table->mask; table->peers[at].count; at = (at + 1) & table->mask) {
        size_t home = home_of(table, table->peers[at].key);
        if (((at - home) & table->mask) < ((at - gap) & table->mask))
            continue;
        table->peers[gap] = table->peers[at];
        table->peers[at].count = 0;
        gap = at;
    }
}

void peer_table_give(struct peer_table *table, uint64_t key)
{
    size_t at = place_of(table, key);
    parley_assert(table->peers[at].count > 0);
    table->connection_count--;
    if (--table->peers[at].count == 0)
        close_gap(table, at);
}

uint32_t peer_table_count(const struct peer_table *table, uint64_t key)
{
    return table->peers[place_of(table, key)].count;
}

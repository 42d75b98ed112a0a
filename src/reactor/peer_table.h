/* src/reactor/peer_table.h: how many connections each address has open.
 *
 * Why:    one address must not take all the room there is; a table that grows would itself be what it attacks.
 * Shape:  address -> peer_key -> count, in a table of fixed size: open addressing, linear probing, a removed entry is filled
 *         by moving the following ones up. Places come from a keyed hash, so that nobody can choose addresses that collide.
 *         IPv4 counts each address, IPv6 each /64: that much belongs to one household or host.
 * Thread: none of its own: the listener's.
 * Errors: -PARLEY_ERR_NOMEM at create; nothing else allocates.
 */
#ifndef PARLEY_REACTOR_PEER_TABLE_H
#define PARLEY_REACTOR_PEER_TABLE_H

#include "src/base/base.h"

struct peer_table;
struct sockaddr;

/* IPv4 or IPv6; IPv4 within IPv6 is the same as IPv4. */
uint64_t peer_key(const struct sockaddr *peer);

/* For at most `connection_max` connections at a time, from as many addresses. Owns: the caller destroys it. */
PARLEY_MUST_USE int peer_table_create(uint32_t connection_max, struct peer_table **out);
void peer_table_destroy(struct peer_table **table);
/* One more of that peer; false when he has `peer_max` already. */
PARLEY_MUST_USE bool peer_table_take(struct peer_table *table, uint64_t peer, uint32_t peer_max);
/* One less; it was taken. */
void peer_table_give(struct peer_table *table, uint64_t peer);
uint32_t peer_table_count(const struct peer_table *table, uint64_t peer);

#endif

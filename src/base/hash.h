/* src/base/hash.h: the keyed hash that places everything and stands for user ids in keys.
 *
 * Why:    keyed, so that nobody outside can choose ids that fall on one shard or collide. The key is made
 * with the data folder and never changes. Shape:  SipHash-2-4 with 128 bits of result (Aumasson and
 * Bernstein, 2012), from libsodium. Thread: any.
 */
#ifndef PARLEY_BASE_HASH_H
#define PARLEY_BASE_HASH_H

#include "src/base/base.h"

enum { HASH_KEY_BYTES = 16 };

struct hash_key {
    uint8_t bytes[HASH_KEY_BYTES];
};

struct id16 hash_128(const struct hash_key *key, const void *data, size_t len);
/* The shard, below `shard_count`, that owns what is named by `id`: a conversation id or a user's hash. */
uint32_t hash_shard(const struct hash_key *key, const struct id16 *id, uint32_t shard_count);

#endif

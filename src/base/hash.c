#include "src/base/hash.h"

#include <sodium.h>

_Static_assert((int)HASH_KEY_BYTES == (int)crypto_shorthash_siphashx24_KEYBYTES, "the key of SipHash");
_Static_assert(sizeof(struct id16) == crypto_shorthash_siphashx24_BYTES, "the result of SipHash-128");

struct id16 hash_128(const struct hash_key *key, const void *data, size_t len)
{
    struct id16 out;
    crypto_shorthash_siphashx24(out.bytes, data, len, key->bytes);
    return out;
}

uint32_t hash_shard(const struct hash_key *key, const struct id16 *id, uint32_t shard_count)
{
    /* Hashed again: a conversation id may be shown to clients, its shard should still not be theirs to
     * choose. */
    struct id16 h = hash_128(key, id->bytes, sizeof id->bytes);
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | h.bytes[i];
    return (uint32_t)(v % shard_count);
}

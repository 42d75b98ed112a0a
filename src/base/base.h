/* src/base/base.h: the few words that every room uses.
 *
 * Why: one assertion that stays on in release, one must-use mark, one 16-byte id.
 * Thread: any.
 */
#ifndef PARLEY_BASE_BASE_H
#define PARLEY_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PARLEY_MUST_USE __attribute__((warn_unused_result))
#define PARLEY_ARRAY_COUNT(a) (sizeof(a) / sizeof((a)[0]))

_Noreturn void parley_assert_failed(const char *text, const char *file, int line);

/* States a belief about our own code: never about what a peer, a disk or malloc does. */
#define parley_assert(x) ((x) ? (void)0 : parley_assert_failed(#x, __FILE__, __LINE__))

/* A 16-byte id: of a conversation, or the keyed hash of a user id. */
struct id16 {
    uint8_t bytes[16];
};

static inline bool same_id(const struct id16 *a, const struct id16 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Bytes that belong to somebody else and live as long as he says. */
struct span {
    const uint8_t *data;
    size_t len;
};

#endif

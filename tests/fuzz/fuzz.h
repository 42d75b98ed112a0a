/* tests/fuzz/fuzz.h: what every fuzz target begins with.
 *
 * Why:    one source, two drivers: libFuzzer looks for inputs (preset `fuzz`, tools/fuzz), and replay.c runs the kept ones
 *         in every other preset.
 * Shape:  input -> LLVMFuzzerTestOneInput -> 0; a wrong answer aborts (parley_assert). Structure is taken from the front of
 *         the input with a bytes_reader, which gives zeros at its end, so that every input means something.
 * Thread: one. A target keeps no state from one input to the next that could change an answer.
 */
#ifndef PARLEY_TESTS_FUZZ_FUZZ_H
#define PARLEY_TESTS_FUZZ_FUZZ_H

#include <stdlib.h>
#include <string.h>

#include "src/base/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* A number below `count`. */
static inline uint32_t fuzz_below(struct bytes_reader *r, uint32_t count)
{
    return bytes_get_u8(r) % count;
}

static inline struct span fuzz_rest(struct bytes_reader *r)
{
    return bytes_get_raw(r, (size_t)(r->end - r->at));
}

/* Up to the next `separator`, which is passed over. */
static inline struct span fuzz_until(struct bytes_reader *r, uint8_t separator)
{
    size_t left = r->failed ? 0 : (size_t)(r->end - r->at);
    const uint8_t *at = left ? memchr(r->at, separator, left) : NULL;
    struct span s = bytes_get_raw(r, at ? (size_t)(at - r->at) : left);
    if (at)
        (void)bytes_get_u8(r);
    return s;
}

/* On the heap and not a byte longer, so that the address sanitizer sees a read behind it. The caller frees it. */
static inline uint8_t *fuzz_copy(struct span s)
{
    uint8_t *copy = malloc(s.len);
    parley_assert(copy || s.len == 0);
    if (s.len)
        memcpy(copy, s.data, s.len);
    return copy;
}

/* The same as a C string: it ends at the first zero byte. */
static inline char *fuzz_words(struct span s)
{
    char *copy = malloc(s.len + 1);
    parley_assert(copy);
    if (s.len)
        memcpy(copy, s.data, s.len);
    copy[s.len] = 0;
    return copy;
}

static inline bool fuzz_same(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool fuzz_is(struct span s, const char *words)
{
    return fuzz_same(s, (struct span){(const uint8_t *)words, strlen(words)});
}

#endif

/* tools/client/text.h: bytes that grow: requests, answers and lines are put together here.
 *
 * Why:    a command line may allocate; what it must not do is check every single append. As with base/bytes.h, a
 *         text that once failed stays failed: callers check once, at the end.
 * Owner:  who zeroes it frees it with text_free. `data` moves with every put.
 * Thread: one at a time.
 * Errors: `failed`: out of memory; what was put since is missing.
 */
#ifndef PARLEY_TOOLS_TEXT_H
#define PARLEY_TOOLS_TEXT_H

#include "src/base/base.h"

struct text {
    uint8_t *data;
    size_t len, room;
    bool failed;
};

/* Room for `more` bytes behind `len`. False, and failed, when there is no memory. */
bool text_reserve(struct text *t, size_t more);
void text_put(struct text *t, const void *data, size_t len);
void text_put_span(struct text *t, struct span s);
void text_put_words(struct text *t, const char *words);
void text_put_number(struct text *t, uint64_t n);
/* A JSON string with its quotes. The bytes must be UTF-8. */
void text_put_json(struct text *t, struct span s);
/* Percent-encoded, for a path segment or a query's value. */
void text_put_escaped(struct text *t, struct span s);
void text_clear(struct text *t); /* keeps the memory */
void text_free(struct text *t);
/* With a terminating zero behind it; "" when it failed. */
const char *text_words(struct text *t);
struct span text_span(const struct text *t);

struct span span_of_words(const char *words);
bool span_is(struct span s, const char *words);

#endif

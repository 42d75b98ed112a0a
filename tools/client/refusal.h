/* tools/client/refusal.h: why a server refused, as it said.
 *
 * Shape:  status and body of an HTTP answer, or the `error` of a WebSocket frame -> code, text, retry_after_ms
 * Thread: any.
 * Errors: none: an answer without a readable error gets a code and a text made of its status.
 */
#ifndef PARLEY_TOOLS_REFUSAL_H
#define PARLEY_TOOLS_REFUSAL_H

#include "src/base/base.h"

enum { REFUSAL_CODE_BYTES = 48, REFUSAL_TEXT_BYTES = 256 };

struct refusal {
    int status; /* 0: it came over a WebSocket */
    char code[REFUSAL_CODE_BYTES], text[REFUSAL_TEXT_BYTES];
    uint64_t retry_after_ms;
};

/* `body` is {"error":{"code","message","retry_after_ms"?}}; other fields are passed over. */
void refusal_read(struct refusal *out, int status, struct span body);
bool refusal_is(const struct refusal *refusal, const char *code);
/* Worth another try: the server is busy, closing, or does not know whether it did it. */
bool refusal_passes(const struct refusal *refusal);

#endif

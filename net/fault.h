/* net/fault.h: what is wrong with a request, beside the error's code: which field, and what it must be.
 *
 * Why:    one sentence for every bad field helps nobody; and a client's program can show the field.
 * Shape:  whoever judges fills a fault beside the error that it answers -> the door writes both: fault_put
 * Owner:  all texts are constants of ours, without characters that JSON escapes: nothing is copied on the way.
 * Thread: any.
 */
#ifndef PARLEY_NET_FAULT_H
#define PARLEY_NET_FAULT_H

#include "src/base/base.h"

struct json_writer;

struct fault {
    const char *field; /* or parameter; NULL: no single one */
    const char
        *text; /* with a field: what it must be; without: a whole sentence, or NULL for the error's own */
};

enum { FAULT_JSON_BYTES_MAX = 448 };

/* When to come again: 0, but for errors that pass by themselves (503). */
uint32_t fault_retry_after_ms(int err);
/* The object {"code","message","field"?,"retry_after_ms"?}. `fault` may be NULL; retry_after_ms 0: the client need not
 * come again. */
void fault_put(struct json_writer *w, int err, const struct fault *fault, uint32_t retry_after_ms);

#endif

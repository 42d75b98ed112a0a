#include "net/fault.h"

#include <stdio.h>

#include "net/json_writer.h"
#include "src/base/error.h"

enum { SENTENCE_BYTES = 256, RETRY_AFTER_MS = 500 };
_Static_assert(FAULT_JSON_BYTES_MAX > SENTENCE_BYTES + 128,
               "code, field, number and the names fit beside it");

uint32_t fault_retry_after_ms(int err)
{
    return parley_err_status(err) == 503 ? RETRY_AFTER_MS : 0;
}

void fault_put(struct json_writer *w, int err, const struct fault *fault, uint32_t retry_after_ms)
{
    char sentence[SENTENCE_BYTES];
    const char *field = fault ? fault->field : NULL, *text = fault ? fault->text : NULL;
    if (field)
        snprintf(sentence, sizeof sentence, "%s must be %s.", field, text);
    json_open_object(w);
    json_key(w, "code");
    json_put_text(w, parley_err_code(err));
    json_key(w, "message");
    json_put_text(w, field ? sentence : text ? text : parley_err_text(err));
    if (field) {
        json_key(w, "field");
        json_put_text(w, field);
    }
    if (retry_after_ms) {
        json_key(w, "retry_after_ms");
        json_put_int(w, retry_after_ms);
    }
    json_close_object(w);
}

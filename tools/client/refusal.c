#include "tools/client/refusal.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static void keep(char *to, size_t room, const char *from)
{
    if (from)
        snprintf(to, room, "%s", from);
}

void refusal_read(struct refusal *out, int status, struct span body)
{
    *out = (struct refusal){.status = status};
    json_t *root = json_loadb((const char *)body.data, body.len, 0, NULL);
    json_t *error = json_object_get(root, "error");
    json_int_t after = json_integer_value(json_object_get(error, "retry_after_ms"));
    snprintf(out->code, sizeof out->code, "http_%d", status);
    snprintf(out->text, sizeof out->text, "The server answered with status %d.", status);
    keep(out->code, sizeof out->code, json_string_value(json_object_get(error, "code")));
    keep(out->text, sizeof out->text, json_string_value(json_object_get(error, "message")));
    out->retry_after_ms = after > 0 ? (uint64_t)after : 0;
    json_decref(root);
}

bool refusal_is(const struct refusal *refusal, const char *code)
{
    return strcmp(refusal->code, code) == 0;
}

bool refusal_passes(const struct refusal *refusal)
{
    return refusal->status == 502 || refusal->status == 503 || refusal->status == 504 ||
           refusal_is(refusal, "overloaded") || refusal_is(refusal, "closing") ||
           refusal_is(refusal, "internal") || refusal_is(refusal, "rate_limited");
}

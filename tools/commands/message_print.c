#include "tools/commands/message_print.h"

#include <stdio.h>
#include <string.h>

#include "net/json.h"
#include "tools/commands/print.h"
#include "tools/commands/session.h"

enum { DATE_BYTES = 10, CLOCK_BYTES = 8, INDENT = 8 };

const char *json_words(const json_t *object, const char *key)
{
    const char *words = json_string_value(json_object_get(object, key));
    return words ? words : "";
}

struct span json_span(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return (struct span){(const uint8_t *)json_string_value(value), json_string_length(value)};
}

uint64_t message_id(const json_t *message)
{
    uint64_t id;
    return json_id(json_span(message, "id"), &id) ? id : 0;
}

void message_print(const json_t *message, bool json)
{
    if (json) {
        session_print_json(message);
        return;
    }
    const char *time = json_words(message, json_object_get(message, "created_at") ? "created_at" : "time");
    printf("%6lld  ", (long long)json_integer_value(json_object_get(message, "seq")));
    if (strlen(time) > DATE_BYTES + CLOCK_BYTES)
        printf("%.*s %.*s  ", DATE_BYTES, time, CLOCK_BYTES, time + DATE_BYTES + 1);
    print_text(stdout, json_span(message, "sender"), INDENT);
    fputs("  ", stdout);
    print_text(stdout, json_span(message, "body"), INDENT);
    putchar('\n');
}

#include "tools/commands/import_line.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/rfc3339.h"
#include "src/base/utf8.h"

enum { TIME_BYTES_MAX = 64, DATE_BYTES = 10, MINUTE_BYTES = 16, SECOND_BYTES = 19, SECONDS_DIGITS_MAX = 11 };

static int time_of_digits(struct span text, uint64_t *unix_ms)
{
    uint64_t n = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || i == 14)
            return -PARLEY_ERR_BAD_REQUEST;
        n = n * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (text.len <= SECONDS_DIGITS_MAX)
        n *= 1000;
    if (text.len == 0 || n > RFC3339_MS_MAX)
        return -PARLEY_ERR_BAD_REQUEST;
    *unix_ms = n;
    return 0;
}

int import_line_time(struct span text, uint64_t *unix_ms)
{
    char full[TIME_BYTES_MAX + 8];
    size_t len = text.len;
    if (text.len < MINUTE_BYTES || text.len > TIME_BYTES_MAX)
        return time_of_digits(text, unix_ms);
    memcpy(full, text.data, len);
    if (full[DATE_BYTES] == ' ')
        full[DATE_BYTES] = 'T';
    if (len == MINUTE_BYTES || full[MINUTE_BYTES] != ':') { /* no seconds */
        memmove(full + SECOND_BYTES, full + MINUTE_BYTES, len - MINUTE_BYTES);
        memcpy(full + MINUTE_BYTES, ":00", 3);
        len += 3;
    }
    bool zone = false;
    for (size_t i = SECOND_BYTES; i < len; i++)
        zone = zone || memchr("Zz+-", full[i], 4);
    if (!zone)
        full[len++] = 'Z';
    return rfc3339_parse(full, len, unix_ms);
}

int import_line_read(struct json_reader *reader, struct span line, struct import_line *out, const char **why)
{
    struct json_field f[] = {{.name = "conversation", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "sender", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "text", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "time", .kind = JSON_FIELD_STRING}};
    int err = json_read(reader, line.data, line.len, f, PARLEY_ARRAY_COUNT(f));
    if (err) {
        *why = err == -PARLEY_ERR_BAD_REQUEST
                   ? "not an object with the strings \"conversation\", \"sender\", \"text\" and \"time\""
                   : parley_err_text(err);
        return err;
    }
    *out = (struct import_line){f[0].value.string, f[1].value.string, f[2].value.string, 0};
    err = -PARLEY_ERR_BAD_REQUEST;
    if (out->conversation.len == 0)
        *why = "the conversation has no name";
    else if (out->sender.len == 0 || out->sender.len > IMPORT_SENDER_BYTES_MAX)
        *why = "a sender has 1 to 64 bytes";
    else if (f[3].present && import_line_time(f[3].value.string, &out->time_ms) != 0)
        *why = "the time is not RFC 3339 (2004-11-15T12:18:00Z) of 1970 to 9999";
    else if (out->text.len == 0)
        err = -PARLEY_ERR_END, *why = "the text is empty";
    else
        err = 0;
    return err;
}

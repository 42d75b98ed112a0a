#include "bench/http_response.h"

#include <string.h>
#include <strings.h>

#include "src/base/error.h"

enum { STATUS_LINE_BYTES_MIN = 12, LENGTH_DIGITS_MAX = 15 };

/* The status of "HTTP/1.1 200 OK"; 0 when it is something else. */
static int status_of(const char *line, size_t len)
{
    int status = 0;
    if (len < STATUS_LINE_BYTES_MIN || memcmp(line, "HTTP/1.1 ", 9) != 0 ||
        (len > STATUS_LINE_BYTES_MIN && line[STATUS_LINE_BYTES_MIN] != ' '))
        return 0;
    for (size_t i = 9; i < STATUS_LINE_BYTES_MIN; i++) {
        if (line[i] < '0' || line[i] > '9')
            return 0;
        status = status * 10 + line[i] - '0';
    }
    return status;
}

/* The field's value, without blanks around it; NULL when the line is another field's. */
static const char *value_of(const char *line, size_t len, const char *name, size_t *value_len)
{
    size_t n = strlen(name);
    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0)
        return NULL;
    const char *from = line + n + 1, *to = line + len;
    while (from < to && (*from == ' ' || *from == '\t'))
        from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    *value_len = (size_t)(to - from);
    return from;
}

static bool read_length(const char *digits, size_t len, size_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        *out = *out * 10 + (size_t)(digits[i] - '0');
    }
    return len > 0 && len <= LENGTH_DIGITS_MAX;
}

static int read_field(const char *line, size_t len, struct http_response *out, bool *has_length)
{
    size_t n;
    const char *value = value_of(line, len, "content-length", &n);
    if (value) {
        bool again = *has_length;
        *has_length = true;
        return !again && read_length(value, n, &out->body_bytes) ? 0 : -PARLEY_ERR_BAD_REQUEST;
    }
    if (value_of(line, len, "transfer-encoding", &n))
        return -PARLEY_ERR_BAD_REQUEST;
    value = value_of(line, len, "connection", &n);
    if (value && n == 5 && strncasecmp(value, "close", n) == 0)
        out->closes = true;
    return 0;
}

int http_response_scan(const uint8_t *data, size_t len, struct http_response *out)
{
    const char *at = (const char *)data;
    const char *end = memmem(data, len, "\r\n\r\n", 4);
    bool has_length = false;
    *out = (struct http_response){0};
    if (!end)
        return len < HTTP_RESPONSE_HEAD_BYTES_MAX ? -PARLEY_ERR_AGAIN : -PARLEY_ERR_HEAD_TOO_LARGE;
    out->head_bytes = (size_t)(end - at) + 4;
    if (out->head_bytes > HTTP_RESPONSE_HEAD_BYTES_MAX)
        return -PARLEY_ERR_HEAD_TOO_LARGE;
    for (bool first = true; at < end + 2; first = false) {
        const char *stop = memmem(at, (size_t)(end + 2 - at), "\r\n", 2);
        size_t line_len = (size_t)(stop - at);
        int err = 0;
        if (first)
            err = (out->status = status_of(at, line_len)) ? 0 : -PARLEY_ERR_BAD_REQUEST;
        else
            err = read_field(at, line_len, out, &has_length);
        if (err)
            return err;
        at = stop + 2;
    }
    return has_length ? 0 : -PARLEY_ERR_BAD_REQUEST;
}

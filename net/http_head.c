#include "net/http_head.h"

#include "net/token.h"
#include "src/base/error.h"

#include <string.h>

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Takes the next line without its CR LF. A CR or LF elsewhere, or a NUL, is refused here for all lines. */
static int take_line(const uint8_t *data, size_t len, size_t *at, struct span *line)
{
    size_t i = *at;
    for (; i < len && i - *at <= HTTP_HEAD_LINE_BYTES_MAX; i++) {
        uint8_t c = data[i];
        if (c == '\n' || c == '\0')
            return -PARLEY_ERR_BAD_REQUEST;
        if (c != '\r')
            continue;
        if (i + 1 == len)
            return -PARLEY_ERR_AGAIN;
        if (data[i + 1] != '\n')
            return -PARLEY_ERR_BAD_REQUEST;
        *line = (struct span){data + *at, i - *at};
        *at = i + 2;
        return 0;
    }
    return i < len ? -PARLEY_ERR_HEAD_TOO_LARGE : -PARLEY_ERR_AGAIN;
}

/* method SP target SP version, each blank exactly one. */
static int scan_request_line(struct span line, struct http_head *head)
{
    static const char prefix[] = "HTTP/1.";
    enum { VERSION_BYTES = sizeof prefix }; /* with the digit */
    size_t i = 0;
    while (i < line.len && token_is_char(line.data[i]))
        i++;
    head->method = (struct span){line.data, i};
    if (i == 0 || i == line.len || line.data[i] != ' ')
        return -PARLEY_ERR_BAD_REQUEST;
    size_t target = ++i;
    while (i < line.len && line.data[i] > ' ' && line.data[i] < 0x7f)
        i++;
    head->target = (struct span){line.data + target, i - target};
    if (i == target || i == line.len || line.data[i] != ' ')
        return -PARLEY_ERR_BAD_REQUEST;
    i++;
    if (line.len - i != VERSION_BYTES || memcmp(line.data + i, prefix, VERSION_BYTES - 1) != 0)
        return -PARLEY_ERR_BAD_REQUEST;
    uint8_t minor = line.data[line.len - 1];
    if (minor != '0' && minor != '1')
        return -PARLEY_ERR_BAD_REQUEST;
    head->http_1_1 = minor == '1';
    bool asterisk = head->target.len == 1 && head->target.data[0] == '*' && head->method.len == 7 &&
                    memcmp(head->method.data, "OPTIONS", 7) == 0;
    return asterisk || head->target.data[0] == '/' ? 0 : -PARLEY_ERR_BAD_REQUEST;
}

static int take_content_length(struct span value, struct http_head *head)
{
    if (head->has_content_length || value.len == 0 || value.len > HTTP_HEAD_LENGTH_DIGITS_MAX)
        return -PARLEY_ERR_BAD_REQUEST;
    uint64_t length = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return -PARLEY_ERR_BAD_REQUEST;
        length = length * 10 + (value.data[i] - '0');
    }
    head->has_content_length = true;
    head->content_length = length;
    return 0;
}

static int take_host(struct span value, struct http_head *head)
{
    if (head->host.data)
        return -PARLEY_ERR_BAD_REQUEST;
    for (size_t i = 0; i < value.len; i++) { /* no user, path or list: routing by host must be unambiguous */
        uint8_t c = value.data[i];
        bool allowed =
            (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || strchr("-._~%:[]", c);
        if (!allowed)
            return -PARLEY_ERR_BAD_REQUEST;
    }
    head->host = value;
    return 0;
}

/* A line that begins with a blank is a folded one: its first character is no token, so it falls out here. */
static int scan_field(struct span line, struct http_head *head, bool *transfer_encoding)
{
    size_t i = 0;
    while (i < line.len && token_is_char(line.data[i]))
        i++;
    if (i == 0 || i == line.len || line.data[i] != ':')
        return -PARLEY_ERR_BAD_REQUEST;
    struct span name = {line.data, i}, value = {line.data + i + 1, line.len - i - 1};
    for (i = 0; i < value.len; i++)
        if ((value.data[i] < ' ' && value.data[i] != '\t') || value.data[i] == 0x7f)
            return -PARLEY_ERR_BAD_REQUEST;
    while (value.len && is_blank(value.data[0]))
        value = (struct span){value.data + 1, value.len - 1};
    while (value.len && is_blank(value.data[value.len - 1]))
        value.len--;
    if (token_equals(name, "content-length"))
        return take_content_length(value, head);
    if (token_equals(name, "host"))
        return take_host(value, head);
    if (!head->authorization.data && token_equals(name, "authorization"))
        head->authorization = value;
    *transfer_encoding |= token_equals(name, "transfer-encoding");
    return 0;
}

int http_head_scan(const uint8_t *data, size_t len, struct http_head *head)
{
    struct http_head h = {0};
    bool transfer_encoding = false;
    struct span line;
    size_t at = 0;
    bool cut = len > HTTP_HEAD_BYTES_MAX;
    size_t end = cut ? HTTP_HEAD_BYTES_MAX : len;
    int err = take_line(data, end, &at, &line);
    if (!err)
        err = scan_request_line(line, &h);
    while (!err) {
        err = take_line(data, end, &at, &line);
        if (err || line.len == 0)
            break;
        if (++h.field_count > HTTP_HEAD_FIELD_COUNT_MAX)
            err = -PARLEY_ERR_HEAD_TOO_LARGE;
        else
            err = scan_field(line, &h, &transfer_encoding);
    }
    if (err)
        return err == -PARLEY_ERR_AGAIN && cut ? -PARLEY_ERR_HEAD_TOO_LARGE : err;
    if (h.http_1_1 && !h.host.data)
        return -PARLEY_ERR_BAD_REQUEST;
    if (transfer_encoding)
        return -PARLEY_ERR_LENGTH_REQUIRED;
    h.head_bytes = at;
    *head = h;
    return 0;
}

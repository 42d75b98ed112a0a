#include "tools/client/http_client.h"

#include <string.h>

#include "net/token.h"
#include "src/base/clock.h"
#include "src/base/error.h"

enum { HEAD_BYTES_MAX = 64 * 1024 };

static struct span trimmed(struct span s)
{
    while (s.len && (*s.data == ' ' || *s.data == '\t'))
        s.data++, s.len--;
    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static bool number_of(struct span s, size_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] < '0' || s.data[i] > '9' || n > HTTP_ANSWER_BYTES_MAX)
            return false;
        n = n * 10 + (size_t)(s.data[i] - '0');
    }
    *out = n;
    return s.len > 0;
}

static bool take_field(struct span line, struct http_answer_head *head)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    if (!colon)
        return false;
    struct span name = {line.data, (size_t)(colon - line.data)};
    struct span value = trimmed((struct span){colon + 1, line.len - name.len - 1});
    if (token_equals(name, "content-length"))
        return number_of(value, &head->content_length);
    if (token_equals(name, "transfer-encoding"))
        head->chunked = true;
    if (token_equals(name, "connection"))
        head->close = token_list_has(value, "close");
    if (head->name && token_equals(name, head->name))
        head->value = value;
    return true;
}

int http_answer_head(const uint8_t *data, size_t len, struct http_answer_head *head)
{
    const uint8_t *end = len ? memmem(data, len, "\r\n\r\n", 4) : NULL;
    if (!end)
        return len > HEAD_BYTES_MAX ? -PARLEY_ERR_TOO_LARGE : -PARLEY_ERR_AGAIN;
    head->head_bytes = (size_t)(end - data) + 4;
    head->content_length = SIZE_MAX;
    head->value = (struct span){0};
    head->chunked = head->close = false;
    size_t status;
    if (head->head_bytes < 14 || memcmp(data, "HTTP/1.", 7) != 0 ||
        !number_of((struct span){data + 9, 3}, &status))
        return -PARLEY_ERR_BAD_REQUEST;
    head->status = (int)status;
    const uint8_t *line = memchr(data, '\n', head->head_bytes);
    while (line + 1 < end) {
        line++;
        const uint8_t *line_end = memmem(line, (size_t)(end + 2 - line), "\r\n", 2);
        if (!take_field((struct span){line, (size_t)(line_end - line)}, head))
            return -PARLEY_ERR_BAD_REQUEST;
        line = line_end + 1;
    }
    return 0;
}

void http_put_head(struct text *to, const struct url *url, const char *token, const char *method,
                   const char *path)
{
    bool v6 = strchr(url->host, ':');
    text_put_words(to, method);
    text_put_words(to, " ");
    text_put_words(to, url->prefix);
    text_put_words(to, path);
    text_put_words(to, v6 ? " HTTP/1.1\r\nHost: [" : " HTTP/1.1\r\nHost: ");
    text_put_words(to, url->host);
    text_put_words(to, v6 ? "]:" : ":");
    text_put_words(to, url->port);
    text_put_words(to, "\r\nAuthorization: Bearer ");
    text_put_words(to, token);
    text_put_words(to, "\r\n");
}

void http_client_init(struct http_client *client, const struct url *url, const char *token)
{
    *client = (struct http_client){.url = url, .token = token};
}

void http_client_close(struct http_client *client)
{
    stream_close(&client->stream);
    text_free(&client->request);
    client->waiting = false;
    client->taken = 0;
}

static void drop(struct http_client *client)
{
    stream_close(&client->stream);
    client->taken = 0;
    client->waiting = false;
}

static int send_request(struct http_client *client)
{
    int err = client->stream.open ? 0 : stream_open(&client->stream, client->url, HTTP_TIMEOUT_MS);
    if (!err)
        err = stream_put(&client->stream, client->request.data, client->request.len);
    if (err)
        drop(client);
    client->waiting = !err;
    return err;
}

int http_begin(struct http_client *client, const char *method, const char *path, struct span body)
{
    parley_assert(!client->waiting);
    if (client->stream.open && client->taken)
        stream_take(&client->stream, client->taken);
    client->taken = 0;
    if (client->close_after)
        drop(client);
    client->close_after = false;
    client->kept = client->stream.open;
    struct text *r = &client->request;
    text_clear(r);
    http_put_head(r, client->url, client->token, method, path);
    if (body.len || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        text_put_words(r, "Content-Type: application/json\r\nContent-Length: ");
        text_put_number(r, body.len);
        text_put_words(r, "\r\n");
    }
    text_put_words(r, "\r\n");
    text_put_span(r, body);
    return r->failed ? -PARLEY_ERR_NOMEM : send_request(client);
}

/* Is the whole answer here? */
static int take_answer(struct http_client *client, struct http_answer *answer)
{
    struct http_answer_head head = {0};
    size_t len;
    const uint8_t *data = stream_input(&client->stream, &len);
    int err = http_answer_head(data, len, &head);
    if (err)
        return err;
    if (head.chunked || head.content_length == SIZE_MAX)
        return -PARLEY_ERR_BAD_REQUEST; /* Parley always names the length */
    if (head.content_length > HTTP_ANSWER_BYTES_MAX)
        return -PARLEY_ERR_TOO_LARGE;
    if (len - head.head_bytes < head.content_length)
        return -PARLEY_ERR_AGAIN;
    *answer = (struct http_answer){head.status, {data + head.head_bytes, head.content_length}};
    client->taken = head.head_bytes + head.content_length;
    client->close_after = head.close;
    client->waiting = false;
    return 0;
}

int http_poll(struct http_client *client, int turn, struct http_answer *answer)
{
    int err =
        turn && turn != -PARLEY_ERR_AGAIN && turn != -PARLEY_ERR_END ? turn : take_answer(client, answer);
    bool lost = err == -PARLEY_ERR_IO || (err == -PARLEY_ERR_AGAIN && turn == -PARLEY_ERR_END);
    if (lost && client->kept && client->stream.in.len == client->stream.in_from) {
        drop(client);
        client->kept = false;
        err = send_request(client);
        return err ? err : -PARLEY_ERR_AGAIN;
    }
    if (lost)
        err = -PARLEY_ERR_IO;
    if (err && err != -PARLEY_ERR_AGAIN)
        drop(client);
    return err;
}

int http_call(struct http_client *client, const char *method, const char *path, struct span body,
              struct http_answer *answer)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + HTTP_TIMEOUT_MS;
    int err = http_begin(client, method, path, body);
    if (err)
        return err;
    for (;;) {
        uint64_t now = clock_monotonic_ms(clock_real());
        if (now >= until) {
            drop(client);
            return -PARLEY_ERR_IO;
        }
        int turn = stream_turn(&client->stream, until - now);
        err = http_poll(client, turn, answer);
        if (err != -PARLEY_ERR_AGAIN)
            return err;
    }
}

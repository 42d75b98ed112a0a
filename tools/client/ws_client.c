#include "tools/client/ws_client.h"

#include <sodium.h>
#include <string.h>

#include "net/ws_handshake.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tools/client/http_client.h"

enum { KEY_BYTES = 16, KEY_TEXT_BYTES = 25 };

static int put_frame(struct ws_client *client, enum ws_opcode opcode, struct span payload)
{
    uint8_t mask[4];
    randombytes_buf(mask, sizeof mask);
    text_clear(&client->frame);
    if (!text_reserve(&client->frame, WS_HEAD_BYTES_MAX + payload.len))
        return -PARLEY_ERR_NOMEM;
    size_t len = ws_frame_encode_masked(client->frame.data, opcode, true, payload, mask);
    return stream_put(&client->stream, client->frame.data, len);
}

static int put_upgrade(struct ws_client *client, const struct url *url, const char *path, const char *token,
                       const char *key)
{
    struct text t = {0};
    http_put_head(&t, url, token, "GET", path);
    text_put_words(
        &t, "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ");
    text_put_words(&t, key);
    text_put_words(&t, "\r\n\r\n");
    int err = t.failed ? -PARLEY_ERR_NOMEM : stream_put(&client->stream, t.data, t.len);
    text_free(&t);
    return err;
}

/* What the server must answer to this key: its own check tells. */
static void expected(const char *key, char accept[WS_ACCEPT_BYTES + 1])
{
    struct ws_handshake h = {.method = span_of_words("GET"),
                             .http_1_1 = true,
                             .upgrade = span_of_words("websocket"),
                             .connection = span_of_words("upgrade"),
                             .version = span_of_words("13"),
                             .key = span_of_words(key)};
    int err = ws_handshake_check(&h, accept);
    parley_assert(err == 0);
}

static int judge_upgrade(struct ws_client *client, const char *key)
{
    struct http_answer_head head = {.name = "sec-websocket-accept"};
    char accept[WS_ACCEPT_BYTES + 1];
    size_t len;
    const uint8_t *data = stream_input(&client->stream, &len);
    int err = http_answer_head(data, len, &head);
    if (err)
        return err;
    expected(key, accept);
    client->status = head.status;
    if (head.status == 101 && span_is(head.value, accept)) {
        stream_take(&client->stream, head.head_bytes);
        return 0;
    }
    if (head.status == 101)
        return -PARLEY_ERR_BAD_REQUEST;
    if (head.content_length != SIZE_MAX && len - head.head_bytes < head.content_length)
        return -PARLEY_ERR_AGAIN;
    text_clear(&client->refusal);
    text_put(&client->refusal, data + head.head_bytes, len - head.head_bytes);
    return -PARLEY_ERR_FORBIDDEN;
}

int ws_client_open(struct ws_client *client, const struct url *url, const char *path, const char *token)
{
    uint8_t raw[KEY_BYTES];
    char key[KEY_TEXT_BYTES];
    uint64_t until = clock_monotonic_ms(clock_real()) + WS_CLIENT_TIMEOUT_MS;
    ws_client_close(client);
    client->reader = (struct ws_reader){.message_bytes_max = WS_CLIENT_MESSAGE_BYTES_MAX};
    randombytes_buf(raw, sizeof raw);
    sodium_bin2base64(key, sizeof key, raw, sizeof raw, sodium_base64_VARIANT_ORIGINAL);
    int err = stream_open(&client->stream, url, WS_CLIENT_TIMEOUT_MS);
    if (!err)
        err = put_upgrade(client, url, path, token, key);
    while (!err) {
        uint64_t now = clock_monotonic_ms(clock_real());
        int turn = now < until ? stream_turn(&client->stream, until - now) : -PARLEY_ERR_IO;
        err = judge_upgrade(client, key);
        if (err != -PARLEY_ERR_AGAIN)
            break;
        err = turn == -PARLEY_ERR_AGAIN ? 0 : turn;
    }
    if (err) {
        stream_close(&client->stream);
        err = err == -PARLEY_ERR_END ? -PARLEY_ERR_IO : err;
    }
    return err;
}

void ws_client_close(struct ws_client *client)
{
    stream_close(&client->stream);
    ws_message_reset(&client->message);
    text_free(&client->frame);
    text_free(&client->refusal);
    *client = (struct ws_client){0};
}

int ws_client_send(struct ws_client *client, struct span text)
{
    return put_frame(client, WS_TEXT, text);
}

static int on_event(struct ws_client *client, const struct ws_event *event, struct span *text, bool *whole)
{
    int err;
    switch (event->kind) {
    case WS_EVENT_DATA:
        err = ws_message_add(&client->message, event, text, whole);
        if (!err && *whole && !(event->first && event->last) && event->text && !utf8_valid(*text))
            err = -PARLEY_ERR_BAD_REQUEST;
        *whole = *whole && event->text; /* binary ones are not ours */
        return err;
    case WS_EVENT_PING:
        return put_frame(client, WS_PONG, event->payload);
    case WS_EVENT_CLOSE:
        client->close_code = event->close_code;
        return -PARLEY_ERR_END;
    case WS_EVENT_FAIL:
        return -PARLEY_ERR_BAD_REQUEST;
    case WS_EVENT_PONG:
    case WS_EVENT_NONE:
        break;
    }
    return 0;
}

int ws_client_next(struct ws_client *client, struct span *text)
{
    for (;;) {
        struct ws_event event;
        bool whole = false;
        size_t len;
        const uint8_t *data = stream_input(&client->stream, &len);
        size_t took = ws_reader_feed(&client->reader, data, len, &event);
        if (event.kind == WS_EVENT_NONE)
            return -PARLEY_ERR_AGAIN;
        stream_take(&client->stream, took);
        int err = on_event(client, &event, text, &whole);
        if (err || whole)
            return err;
    }
}

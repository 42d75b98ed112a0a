/* WebSocket: chat messages, whose acks are durable, and the echo that is the ceiling of the door. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/load.h"
#include "net/ws_frame.h"

enum { STAMP_HEX = 16, STAMP_BYTES = 8, JSON_BYTES = 256, HEAD_BYTES = 4096 };

static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};

void load_ws_upgrade(int fd, const char *path, const char *token)
{
    char head[HEAD_BYTES], answer[1024];
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                     "%s%s\r\n\r\n",
                     path, *token ? "Authorization: Bearer " : "X-Load: 1", token);
    load_write_all(fd, head, (size_t)n);
    size_t got = 0;
    while (got < 4 || memcmp(answer + got - 4, "\r\n\r\n", 4) != 0) { /* what follows is the first frame's */
        if (got == sizeof answer || read(fd, answer + got, 1) != 1)
            load_die("upgrade");
        got++;
    }
    errno = 0;
    if (memcmp(answer, "HTTP/1.1 101", 12) != 0)
        load_die("upgrade");
}

size_t load_ws_frame(const uint8_t *p, size_t len, size_t *head)
{
    if (len < 2)
        return 0;
    if ((p[0] & 0x0f) == WS_CLOSE) {
        errno = 0;
        load_die("the server closed a WebSocket");
    }
    size_t payload = p[1] & 0x7f;
    *head = payload == 126 ? 4 : payload == 127 ? 10 : 2;
    if (len < *head)
        return 0;
    if (payload >= 126) {
        payload = 0;
        for (size_t i = 2; i < *head; i++)
            payload = payload << 8 | p[i];
    }
    return len - *head >= payload ? *head + payload : 0;
}

static void put_frame(struct load_connection *c, enum ws_opcode opcode, struct span payload)
{
    load_out_reserve(c, payload.len + WS_HEAD_BYTES_MAX);
    c->out_len += ws_frame_encode_masked(c->out + c->out_len, opcode, true, payload, mask);
}

static bool is_ping(struct load_connection *c, const uint8_t *frame, size_t len, size_t head)
{
    if ((frame[0] & 0x0f) != WS_PING)
        return false;
    put_frame(c, WS_PONG, (struct span){frame + head, len - head});
    return true;
}

/* -- echo: the first 8 bytes are the time from which the latency counts */

static void open_echo(const struct load *l, struct load_connection *c)
{
    load_ws_upgrade(c->fd, "/test/ws-echo", l->token);
}

static void put_echo(struct load *l, struct load_connection *c, uint64_t due_ns)
{
    static uint8_t body[LOAD_BODY_BYTES_MAX];
    memcpy(body, &due_ns, STAMP_BYTES);
    put_frame(c, WS_BINARY, (struct span){body, l->body_bytes});
    l->sent++;
}

static size_t take_echo(struct load *l, struct load_connection *c, const uint8_t *data, size_t len,
                        struct load_answer *out)
{
    size_t head, took = load_ws_frame(data, len, &head);
    (void)l;
    if (took == 0 || is_ping(c, data, took, head))
        return took;
    out->kind = LOAD_ANSWERED;
    out->body_bytes = took - head;
    if (out->body_bytes < STAMP_BYTES) {
        errno = 0;
        load_die("an echo of another length");
    }
    memcpy(&out->due_ns, data + head, STAMP_BYTES);
    return took;
}

/* -- chat: the client id begins with the time, as 16 hexadecimal digits, and the ack repeats it */

static void open_chat(const struct load *l, struct load_connection *c)
{
    load_ws_upgrade(c->fd, "/v1/ws?live=false", l->token); /* acks are measured, not what the others say */
}

static void put_chat(struct load *l, struct load_connection *c, uint64_t due_ns)
{
    static char text[JSON_BYTES + LOAD_BODY_BYTES_MAX];
    static char body[LOAD_BODY_BYTES_MAX + 1];
    if (!body[0])
        memset(body, 'x', sizeof body - 1);
    int n = snprintf(
        text, sizeof text,
        "{\"type\":\"send\",\"conversation\":\"%s\",\"client_msg_id\":\"%016llx-%llx\",\"body\":\"%.*s\"}",
        l->ids[l->sent % l->id_count], (unsigned long long)due_ns, (unsigned long long)l->sent,
        (int)l->body_bytes, body);
    put_frame(c, WS_TEXT, (struct span){(const uint8_t *)text, (size_t)n});
    l->sent++;
}

static bool begins(const uint8_t *payload, size_t len, const char *words)
{
    size_t n = strlen(words);
    return len >= n && memcmp(payload, words, n) == 0;
}

/* A refusal that says when to come again; everything else ends the run. */
static void take_refusal(const uint8_t *payload, size_t len, struct load_answer *out)
{
    static const char retry[] = "\"retry_after_ms\":";
    const char *at = memmem(payload, len, retry, sizeof retry - 1);
    if (!begins(payload, len, "{\"type\":\"error\"") || !at) {
        fprintf(stderr, "load: not an ack: %.*s\n", (int)len, (const char *)payload);
        exit(1);
    }
    out->kind = LOAD_REFUSED;
    for (at += sizeof retry - 1; at < (const char *)payload + len && *at >= '0' && *at <= '9'; at++)
        out->retry_ms = out->retry_ms * 10 + (uint32_t)(*at - '0');
}

static size_t take_chat(struct load *l, struct load_connection *c, const uint8_t *data, size_t len,
                        struct load_answer *out)
{
    static const char ack[] = "{\"type\":\"ack\",\"client_msg_id\":\"";
    size_t head, took = load_ws_frame(data, len, &head);
    (void)l;
    if (took == 0 || is_ping(c, data, took, head))
        return took;
    const uint8_t *payload = data + head;
    size_t payload_len = took - head;
    if (begins(payload, payload_len, "{\"type\":\"hello\""))
        return took;
    if (payload_len < sizeof ack + STAMP_HEX || !begins(payload, payload_len, ack)) {
        take_refusal(payload, payload_len, out);
        return took;
    }
    out->kind = LOAD_ANSWERED;
    out->body_bytes = payload_len;
    for (size_t i = sizeof ack - 1; i < sizeof ack - 1 + STAMP_HEX; i++)
        out->due_ns =
            out->due_ns << 4 | (uint64_t)(payload[i] <= '9' ? payload[i] - '0' : payload[i] - 'a' + 10);
    return took;
}

const struct load_protocol load_echo = {"messages", LOAD_WINDOW_MAX, open_echo, put_echo, take_echo};
const struct load_protocol load_chat = {"messages", LOAD_WINDOW_MAX, open_chat, put_chat, take_chat};

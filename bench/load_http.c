/* HTTP/1.1 keep-alive: GETs, and the making of conversations. One request under way on each connection. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/http_response.h"
#include "bench/load.h"
#include "src/base/error.h"

enum { HEAD_BYTES = 4096, CREATE_BODY_BYTES = 256, RETRY_MS = 500 };

void load_paths_add(struct load *l, const char *path)
{
    l->paths = load_need(realloc(l->paths, (l->path_count + 1) * sizeof *l->paths));
    l->paths[l->path_count++] = load_need(strdup(path));
}

static void number(struct load *l, struct load_connection *c, uint64_t due_ns)
{
    if (!c->again)
        c->number = l->sent++;
    c->again = false;
    c->due_ns = due_ns;
}

static void append(struct load_connection *c, const char *text, size_t len)
{
    load_out_reserve(c, len);
    memcpy(c->out + c->out_len, text, len);
    c->out_len += len;
}

/* What follows the target in every request. */
static const char *tail_of(const struct load *l, size_t *len)
{
    static char tail[HEAD_BYTES];
    static size_t tail_len;
    if (tail_len == 0)
        tail_len =
            (size_t)snprintf(tail, sizeof tail, " HTTP/1.1\r\nHost: localhost\r\n%s%s%s",
                             *l->token ? "Authorization: Bearer " : "", l->token, *l->token ? "\r\n" : "");
    *len = tail_len;
    return tail;
}

/* The whole answer's length, 0 when it is not whole; a status that nobody wants ends the run. */
static size_t take_answer(struct load_connection *c, const uint8_t *data, size_t len,
                          struct http_response *out)
{
    if (c->answer_bytes > len) /* the head was seen, the body is still coming */
        return 0;
    int err = http_response_scan(data, len, out);
    if (err == -PARLEY_ERR_AGAIN)
        return 0;
    errno = 0;
    if (err || out->closes)
        load_die("no answer that a keep-alive client can use");
    c->answer_bytes = out->head_bytes + out->body_bytes;
    if (c->answer_bytes > len)
        return 0;
    size_t took = c->answer_bytes;
    c->answer_bytes = 0;
    return took;
}

static void judge(struct load_connection *c, const uint8_t *data, const struct http_response *got,
                  struct load_answer *out)
{
    *out = (struct load_answer){
        .kind = LOAD_ANSWERED, .due_ns = c->due_ns, .body_bytes = got->body_bytes, .retry_ms = RETRY_MS};
    if (got->status == 503) {
        out->kind = LOAD_REFUSED;
        c->again = true;
    } else if (got->status != 200 && got->status != 201) {
        fprintf(stderr, "load: an answer of %d: %.*s\n", got->status, (int)got->body_bytes,
                (const char *)data + got->head_bytes);
        exit(1);
    }
}

/* -- GET */

static void put_get(struct load *l, struct load_connection *c, uint64_t due_ns)
{
    size_t len;
    number(l, c, due_ns);
    const char *path = l->paths[c->number % l->path_count], *tail = tail_of(l, &len);
    append(c, "GET ", 4);
    append(c, path, strlen(path));
    append(c, tail, len);
    append(c, "\r\n", 2);
}

static size_t take_get(struct load *l, struct load_connection *c, const uint8_t *data, size_t len,
                       struct load_answer *out)
{
    struct http_response got;
    size_t took = take_answer(c, data, len, &got);
    (void)l;
    if (took)
        judge(c, data, &got, out);
    return took;
}

/* -- groups */

static void put_create(struct load *l, struct load_connection *c, uint64_t due_ns)
{
    char body[CREATE_BODY_BYTES], length[64];
    size_t len;
    number(l, c, due_ns);
    const char *tail = tail_of(l, &len);
    int body_len =
        snprintf(body, sizeof body, "{\"type\":\"group\",\"client_id\":\"load-%llu\",\"members\":[\"bob\"]}",
                 (unsigned long long)c->number);
    int length_len = snprintf(length, sizeof length,
                              "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n", body_len);
    append(c, "POST /v1/conversations", 22);
    append(c, tail, len);
    append(c, length, (size_t)length_len);
    append(c, body, (size_t)body_len);
}

static size_t take_create(struct load *l, struct load_connection *c, const uint8_t *data, size_t len,
                          struct load_answer *out)
{
    static const char key[] = "\"id\":\"";
    struct http_response got;
    size_t took = take_answer(c, data, len, &got);
    if (!took)
        return 0;
    judge(c, data, &got, out);
    if (out->kind != LOAD_ANSWERED)
        return took;
    const char *id = memmem(data + got.head_bytes, got.body_bytes, key, sizeof key - 1);
    if (!id || id + sizeof key - 1 + LOAD_ID_HEX > (const char *)data + took)
        load_die("a conversation without an id");
    memcpy(l->ids[c->number], id + sizeof key - 1, LOAD_ID_HEX);
    return took;
}

const struct load_protocol load_get = {"requests", 1, NULL, put_get, take_get};
const struct load_protocol load_create = {"conversations", 1, NULL, put_create, take_create};

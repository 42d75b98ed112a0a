/* net/chat_http*.c: "METHOD TARGET" on the first line, then a body. Each request has exactly one answer, of JSON and of the
 * declared length, and what reaches a shard is sound. Or, raw, the input is all that the connection gets to hear. */
#include <jansson.h>
#include <stdio.h>

#include "tests/fuzz/chat_door.h"

enum { HOW_SERVICE = 1, HOW_HOLD = 2, HOW_LEAVE = 4, HOW_RAW = 8, TARGET_BYTES_MAX = 4096 };

/* Returns the bytes of the answer that `text` begins with. */
static size_t check_answer(const char *text, size_t len, bool has_body)
{
    const char *body = strstr(text, "\r\n\r\n"), *declared = strcasestr(text, "content-length: ");
    parley_assert(len > 12 && strncmp(text, "HTTP/1.1 ", 9) == 0 && body);
    parley_assert(declared && declared < body);
    body += 4;
    bool early = strcmp(body, "Bad Request") == 0; /* libh2o's own words, for what it cannot parse at all */
    const char *closes =
        strcasestr(text, "connection: close"); /* a head that is refused unread has no method */
    bool written = has_body || early || (closes && closes < body);
    size_t body_len = written ? strtoul(declared + 16, NULL, 10) : 0, head_len = (size_t)(body - text);
    parley_assert(body_len <= len - head_len);
    if (body_len && !early) {
        json_t *tree = json_loadb(body, body_len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
        parley_assert(json_is_object(tree));
        parley_assert(atoi(text + 9) < 400 || json_is_object(json_object_get(tree, "error")));
        json_decref(tree);
    }
    return head_len + body_len;
}

static void ask(uint8_t how, struct span method, struct span target, struct span body)
{
    size_t room = method.len + target.len + body.len + JWT_TOKEN_BYTES_MAX + 256;
    char *text = malloc(room);
    parley_assert(text);
    int len = snprintf(
        text, room,
        "%.*s %.*s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n",
        (int)method.len, method.data, (int)target.len, target.data, door.token[how & HOW_SERVICE], body.len);
    if (body.len)
        memcpy(text + len, body.data, body.len);
    door.hold = how & (HOW_HOLD | HOW_LEAVE);
    chat_door_send((struct span){(uint8_t *)text, (size_t)len + body.len});
    free(text);
}

static void run_request(uint8_t how, struct bytes_reader *r)
{
    struct span method = fuzz_until(r, ' '), target = fuzz_until(r, '\n'), body = fuzz_rest(r);
    if (body.len > DOOR_BODY_BYTES_MAX || target.len > TARGET_BYTES_MAX ||
        memchr(method.data ? (const char *)method.data : "", 0, method.len) ||
        (target.len && memchr(target.data, 0, target.len)))
        return;
    ask(how, method, target, body);
    if (how & HOW_LEAVE) /* he does not wait */
        return;
    chat_door_release();
    struct span answer = chat_door_read();
    size_t used = check_answer((const char *)answer.data, answer.len, !fuzz_is(method, "HEAD"));
    parley_assert(used == answer.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    uint8_t how = bytes_get_u8(&r);
    chat_door_connect();
    door.value = bytes_get_u8(&r);
    if (how & HOW_RAW) {
        chat_door_send(fuzz_rest(&r));
        struct span answer = chat_door_read();
        parley_assert(answer.len == 0 || strncmp(door.answer, "HTTP/1.1 ", 9) == 0);
    } else {
        run_request(how, &r);
    }
    chat_door_close();
    return 0;
}

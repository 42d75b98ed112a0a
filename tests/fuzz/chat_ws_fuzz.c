/* net/chat_ws.c and chat_resume.c: each line of the input is a text frame on an open session (one that begins with a zero byte
 * a binary one). Each is answered by a frame of JSON, and the session lives on, unless the shards are slow: then it ends in
 * peace. */
#include <jansson.h>
#include <stdio.h>

#include "net/ws_message.h"
#include "tests/fuzz/chat_door.h"
#include "tools/client/ws_reader.h"

enum { HOW_SERVICE = 1, HOW_HOLD = 2, LINES_MAX = 32, LINE_BYTES_MAX = 4096 };

static void open_session(uint8_t how)
{
    char text[JWT_TOKEN_BYTES_MAX + 512];
    int len = snprintf(text, sizeof text,
                       "GET /v1/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nUpgrade: websocket\r\n"
                       "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "
                       "dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                       door.token[how & HOW_SERVICE]);
    chat_door_send((struct span){(uint8_t *)text, (size_t)len});
}

/* One frame: an object with a type that the API knows. */
static void check_frame(struct span frame, uint32_t *answers)
{
    static const char *const types[] = {"hello", "ack", "error", "message", "resumed", "event", "lag"};
    json_t *tree =
        json_loadb((const char *)frame.data, frame.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    const char *type = json_string_value(json_object_get(tree, "type"));
    bool known = false;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(types) && type; i++)
        known = known || strcmp(type, types[i]) == 0;
    parley_assert(known);
    *answers += strcmp(type, "ack") == 0 || strcmp(type, "error") == 0 || strcmp(type, "resumed") == 0;
    json_decref(tree);
}

/* All frames that came; how many of them answer one of ours. */
static uint32_t read_frames(struct span bytes)
{
    struct ws_reader reader = {.message_bytes_max = DOOR_ANSWER_BYTES};
    struct ws_event e = {.kind = WS_EVENT_DATA};
    uint32_t answers = 0;
    while (e.kind != WS_EVENT_NONE) {
        size_t used = ws_reader_feed(&reader, bytes.data, bytes.len, &e);
        bytes = (struct span){bytes.data + used, bytes.len - used};
        parley_assert(e.kind == WS_EVENT_NONE || (e.kind == WS_EVENT_DATA && e.text && e.first && e.last));
        if (e.kind == WS_EVENT_DATA)
            check_frame(e.payload, &answers);
    }
    parley_assert(bytes.len == 0);
    return answers;
}

static void send_line(struct span line)
{
    static const uint8_t mask[4] = {1, 2, 3, 4};
    uint8_t *frame = malloc(line.len + WS_HEAD_BYTES_MAX);
    bool binary = line.len && line.data[0] == 0;
    parley_assert(frame);
    size_t len = ws_frame_encode_masked(frame, binary ? WS_BINARY : WS_TEXT, true, line, mask);
    chat_door_send((struct span){frame, len});
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    uint8_t how = bytes_get_u8(&r);
    chat_door_connect();
    door.value = bytes_get_u8(&r);
    open_session(how);
    struct span hello = chat_door_read();
    const char *end = strstr((const char *)hello.data, "\r\n\r\n");
    parley_assert(strncmp(door.answer, "HTTP/1.1 101 ", 13) == 0 && end);
    size_t head = (size_t)(end + 4 - door.answer);
    parley_assert(read_frames((struct span){hello.data + head, hello.len - head}) == 0);
    door.hold = how & HOW_HOLD;
    for (int i = 0; i < LINES_MAX && r.at < r.end; i++) {
        struct span line = fuzz_until(&r, '\n');
        if (line.len > LINE_BYTES_MAX || !utf8_valid(line))
            continue; /* a bad text ends the connection: ws_frame_fuzz */
        send_line(line);
        uint32_t answers = read_frames(chat_door_read());
        parley_assert(door.hold || answers == 1);
    }
    if (how & HOW_HOLD && door.value & 1) {
        chat_door_release();
        (void)read_frames(chat_door_read());
    }
    chat_door_close();
    return 0;
}

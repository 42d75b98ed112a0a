#include "tools/client/ws_reader.h"

#include "src/base/utf8.h"

enum {
    BIT_FIN = 0x80,
    BITS_RSV = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_MASK = 0x80,
    LENGTH_IN_16 = 126,
    LENGTH_IN_64 = 127
};

static size_t fail(struct ws_event *event, unsigned code)
{
    *event = (struct ws_event){.kind = WS_EVENT_FAIL, .close_code = (uint16_t)code};
    return 0;
}

static size_t take_control(uint8_t opcode, struct span payload, struct ws_event *event, size_t frame_bytes)
{
    *event = (struct ws_event){.kind = opcode == WS_PING   ? WS_EVENT_PING
                                       : opcode == WS_PONG ? WS_EVENT_PONG
                                                           : WS_EVENT_CLOSE,
                               .close_code = WS_CODE_NONE,
                               .payload = payload};
    if (opcode != WS_CLOSE || payload.len == 0)
        return frame_bytes;
    unsigned code = payload.len > 1 ? (unsigned)(payload.data[0] << 8 | payload.data[1]) : 0;
    if (!ws_close_code_valid(code))
        return fail(event, WS_CODE_PROTOCOL);
    event->close_code = (uint16_t)code;
    event->payload = (struct span){payload.data + 2, payload.len - 2};
    return utf8_valid(event->payload) ? frame_bytes : fail(event, WS_CODE_BAD_UTF8);
}

static size_t take_data(struct ws_reader *r, uint8_t first, struct span payload, struct ws_event *event,
                        size_t frame_bytes)
{
    uint8_t opcode = first & BITS_OPCODE;
    bool begins = opcode != WS_CONTINUATION, fin = first & BIT_FIN;
    if (begins == r->within)
        return fail(event, WS_CODE_PROTOCOL);
    if (begins)
        r->text = opcode == WS_TEXT;
    if (begins && fin && r->text && !utf8_valid(payload))
        return fail(event, WS_CODE_BAD_UTF8);
    *event = (struct ws_event){
        .kind = WS_EVENT_DATA, .text = r->text, .first = begins, .last = fin, .payload = payload};
    r->within = !fin;
    r->message_bytes = fin ? 0 : r->message_bytes + (uint32_t)payload.len;
    return frame_bytes;
}

size_t ws_reader_feed(struct ws_reader *r, const uint8_t *data, size_t len, struct ws_event *event)
{
    *event = (struct ws_event){.kind = WS_EVENT_NONE};
    if (len < 2)
        return 0;
    uint8_t opcode = data[0] & BITS_OPCODE;
    bool control = opcode & 0x8;
    if ((data[0] & BITS_RSV) || (data[1] & BIT_MASK) || opcode > WS_PONG ||
        (opcode > WS_BINARY && opcode < WS_CLOSE))
        return fail(event, WS_CODE_PROTOCOL);
    size_t length_bytes = data[1] == LENGTH_IN_64 ? 8 : data[1] == LENGTH_IN_16 ? 2 : 0;
    if (control && (length_bytes || !(data[0] & BIT_FIN)))
        return fail(event, WS_CODE_PROTOCOL);
    if (len < 2 + length_bytes)
        return 0;
    uint64_t payload_bytes = length_bytes ? 0 : data[1];
    for (size_t i = 0; i < length_bytes; i++)
        payload_bytes = payload_bytes << 8 | data[2 + i];
    if ((length_bytes == 2 && payload_bytes < LENGTH_IN_16) ||
        (length_bytes == 8 && payload_bytes <= UINT16_MAX))
        return fail(event, WS_CODE_PROTOCOL); /* a length has one spelling */
    if (!control && payload_bytes > r->message_bytes_max - r->message_bytes)
        return fail(event, WS_CODE_TOO_BIG);
    size_t head_bytes = 2 + length_bytes;
    if (len - head_bytes < payload_bytes)
        return 0;
    struct span payload = {data + head_bytes, (size_t)payload_bytes};
    return control ? take_control(opcode, payload, event, head_bytes + payload.len)
                   : take_data(r, data[0], payload, event, head_bytes + payload.len);
}

#include "net/ws_frame.h"

#include <string.h>

enum {
    BIT_FIN = 0x80,
    BITS_RSV = 0x70,
    BITS_OPCODE = 0x0f,
    BIT_CONTROL = 0x08,
    BIT_MASK = 0x80,
    BITS_LENGTH = 0x7f,
    LENGTH_IN_16 = 126,
    LENGTH_IN_64 = 127,
    MASK_BYTES = 4,
};

/* What the head of a frame says. */
struct frame {
    bool fin;
    uint8_t opcode;
    uint32_t head_bytes;
    uint64_t payload_bytes;
};

struct ws_parser ws_parser_of(uint32_t message_bytes_max)
{
    /* A frame's end must fit into need_bytes. */
    parley_assert(message_bytes_max <= UINT32_MAX - WS_HEAD_BYTES_MAX);
    return (struct ws_parser){.message_bytes_max = message_bytes_max};
}

bool ws_close_code_valid(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

/* XOR has no byte order: eight bytes go at once on any machine. Frames always begin at mask[0]. */
static void mask_in_place(uint8_t *data, size_t len, const uint8_t mask[MASK_BYTES])
{
    uint64_t wide, word;
    memcpy(&wide, mask, MASK_BYTES);
    memcpy((uint8_t *)&wide + MASK_BYTES, mask, MASK_BYTES);
    size_t i = 0;
    for (; len - i >= sizeof word; i += sizeof word) {
        memcpy(&word, data + i, sizeof word);
        word ^= wide;
        memcpy(data + i, &word, sizeof word);
    }
    for (; i < len; i++)
        data[i] ^= mask[i % MASK_BYTES];
}

static uint64_t get_be(const uint8_t *data, size_t len)
{
    uint64_t v = 0;
    for (size_t i = 0; i < len; i++)
        v = v << 8 | data[i];
    return v;
}

/* Both rules that the first byte alone can break. */
static bool first_byte_allowed(const struct ws_parser *p, uint8_t b)
{
    if (b & BITS_RSV)
        return false;
    switch (b & BITS_OPCODE) {
    case WS_CONTINUATION:
        return p->message_opcode != WS_CONTINUATION;
    case WS_TEXT:
    case WS_BINARY:
        return p->message_opcode == WS_CONTINUATION;
    case WS_CLOSE:
    case WS_PING:
    case WS_PONG:
        return b & BIT_FIN;
    default:
        return false;
    }
}

/* Judges as much of the head as is here. Returns 0 with all of it in `f`, a close code, or WS_CODE_NONE when
 * f->head_bytes more than `len` are needed to say. */
static unsigned parse_head(const struct ws_parser *p, const uint8_t *data, size_t len, struct frame *f)
{
    *f = (struct frame){.head_bytes = 2};
    if (len >= 1 && !first_byte_allowed(p, data[0]))
        return WS_CODE_PROTOCOL;
    if (len < 2)
        return WS_CODE_NONE;
    f->fin = data[0] & BIT_FIN;
    f->opcode = data[0] & BITS_OPCODE;
    unsigned short_length = data[1] & BITS_LENGTH;
    bool control = f->opcode & BIT_CONTROL;
    if (!(data[1] & BIT_MASK) || (control && short_length > WS_CONTROL_PAYLOAD_BYTES_MAX))
        return WS_CODE_PROTOCOL;
    size_t length_bytes = short_length == LENGTH_IN_64 ? 8 : short_length == LENGTH_IN_16 ? 2 : 0;
    f->head_bytes = (uint32_t)(2 + length_bytes + MASK_BYTES);
    if (len < 2 + length_bytes)
        return WS_CODE_NONE;
    f->payload_bytes = length_bytes ? get_be(data + 2, length_bytes) : short_length;
    /* One length has one spelling, and the topmost bit is not part of it. */
    if ((length_bytes == 2 && f->payload_bytes < LENGTH_IN_16) ||
        (length_bytes == 8 && (f->payload_bytes <= UINT16_MAX || f->payload_bytes >> 63)))
        return WS_CODE_PROTOCOL;
    if (!control && f->payload_bytes > p->message_bytes_max - p->message_bytes)
        return WS_CODE_TOO_BIG;
    return len < f->head_bytes ? WS_CODE_NONE : 0;
}

static unsigned take_close(struct ws_parser *p, struct span payload, struct ws_event *event)
{
    *event = (struct ws_event){.kind = WS_EVENT_CLOSE, .close_code = WS_CODE_NONE, .payload = payload};
    p->finished = true;
    if (payload.len == 0)
        return 0;
    if (payload.len == 1)
        return WS_CODE_PROTOCOL;
    event->close_code = (uint16_t)get_be(payload.data, 2);
    event->payload = (struct span){payload.data + 2, payload.len - 2};
    if (!utf8_stream_valid(event->payload.data, event->payload.len))
        return WS_CODE_BAD_UTF8;
    return ws_close_code_valid(event->close_code) ? 0 : WS_CODE_PROTOCOL;
}

static unsigned take_data(struct ws_parser *p, const struct frame *f, struct span payload,
                          struct ws_event *event)
{
    bool first = f->opcode != WS_CONTINUATION;
    if (first)
        p->message_opcode = f->opcode;
    bool text = p->message_opcode == WS_TEXT;
    if (text && !utf8_stream_feed(&p->utf8, payload.data, payload.len))
        return WS_CODE_BAD_UTF8;
    if (text && f->fin && !utf8_stream_done(&p->utf8))
        return WS_CODE_BAD_UTF8;
    p->message_bytes += (uint32_t)payload.len;
    if (f->fin) {
        p->message_opcode = WS_CONTINUATION;
        p->message_bytes = 0;
        p->utf8 = (struct utf8_stream){0};
    }
    *event = (struct ws_event){
        .kind = WS_EVENT_DATA, .text = text, .first = first, .last = f->fin, .payload = payload};
    return 0;
}

static size_t fail(struct ws_parser *p, unsigned code, size_t len, struct ws_event *event)
{
    p->finished = true;
    *event = (struct ws_event){.kind = WS_EVENT_FAIL, .close_code = (uint16_t)code};
    return len;
}

size_t ws_parser_feed(struct ws_parser *p, uint8_t *data, size_t len, struct ws_event *event)
{
    *event = (struct ws_event){.kind = WS_EVENT_NONE};
    if (p->finished)
        return len;
    struct frame f;
    unsigned code = parse_head(p, data, len, &f);
    if (code != 0 && code != WS_CODE_NONE)
        return fail(p, code, len, event);
    uint64_t frame_bytes = f.head_bytes + f.payload_bytes;
    if (code == WS_CODE_NONE || len < frame_bytes) {
        event->need_bytes = (uint32_t)frame_bytes;
        return 0;
    }
    struct span payload = {data + f.head_bytes, (size_t)f.payload_bytes};
    mask_in_place(data + f.head_bytes, payload.len, data + f.head_bytes - MASK_BYTES);
    switch (f.opcode) {
    case WS_CLOSE:
        code = take_close(p, payload, event);
        break;
    case WS_PING:
        *event = (struct ws_event){.kind = WS_EVENT_PING, .payload = payload};
        break;
    case WS_PONG:
        *event = (struct ws_event){.kind = WS_EVENT_PONG, .payload = payload};
        break;
    default:
        code = take_data(p, &f, payload, event);
    }
    return code ? fail(p, code, len, event) : (size_t)frame_bytes;
}

static size_t encode_head(uint8_t *out, enum ws_opcode opcode, bool fin, uint64_t payload_bytes,
                          uint8_t mask_bit)
{
    size_t length_bytes = payload_bytes > UINT16_MAX ? 8 : payload_bytes >= LENGTH_IN_16 ? 2 : 0;
    unsigned short_length = length_bytes == 8   ? LENGTH_IN_64
                            : length_bytes == 2 ? LENGTH_IN_16
                                                : (unsigned)payload_bytes;
    out[0] = (uint8_t)((fin ? BIT_FIN : 0) | opcode);
    out[1] = (uint8_t)(mask_bit | short_length);
    for (size_t i = 0; i < length_bytes; i++)
        out[2 + i] = (uint8_t)(payload_bytes >> (8 * (length_bytes - 1 - i)));
    return 2 + length_bytes;
}

size_t ws_frame_encode_head(uint8_t out[WS_SERVER_HEAD_BYTES_MAX], enum ws_opcode opcode, bool fin,
                            uint64_t payload_bytes)
{
    parley_assert(!(opcode & BIT_CONTROL) || (fin && payload_bytes <= WS_CONTROL_PAYLOAD_BYTES_MAX));
    return encode_head(out, opcode, fin, payload_bytes, 0);
}

size_t ws_frame_encode_close(uint8_t out[WS_CLOSE_FRAME_BYTES_MAX], unsigned code, struct span reason)
{
    if (code == WS_CODE_NONE)
        return encode_head(out, WS_CLOSE, true, 0, 0);
    parley_assert(ws_close_code_valid(code));
    size_t len = reason.len;
    if (len > WS_CONTROL_PAYLOAD_BYTES_MAX - 2)
        for (len = WS_CONTROL_PAYLOAD_BYTES_MAX - 2; len > 0 && (reason.data[len] & 0xc0) == 0x80;)
            len--;
    size_t at = encode_head(out, WS_CLOSE, true, 2 + len, 0);
    out[at++] = (uint8_t)(code >> 8);
    out[at++] = (uint8_t)code;
    if (len)
        memcpy(out + at, reason.data, len);
    return at + len;
}

size_t ws_frame_encode_masked(uint8_t *out, enum ws_opcode opcode, bool fin, struct span payload,
                              const uint8_t mask[4])
{
    size_t at = encode_head(out, opcode, fin, payload.len, BIT_MASK);
    memcpy(out + at, mask, MASK_BYTES);
    at += MASK_BYTES;
    if (payload.len)
        memcpy(out + at, payload.data, payload.len);
    mask_in_place(out + at, payload.len, mask);
    return at + payload.len;
}

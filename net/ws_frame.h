/* net/ws_frame.h: WebSocket frames, parsed where they lie.
 *
 * Why:    a library's parser costs kilobytes for each connection and copies each payload; this one is a few
 *         words, unmasks in place and hands out spans of the socket's own input buffer.
 * Shape:  input buffer -> ws_parser_feed -> {bytes consumed, at most one event} -> again until WS_EVENT_NONE.
 *         A frame is judged by its first bytes but taken only as a whole: what is not consumed must be at the
 *         front of the next call's data, unchanged. So cutting a stream elsewhere changes no event, and a
 *         message that came in one frame is never copied (net/ws_message.h joins the others).
 *         The caller's buffer is bounded: no frame above message_bytes_max + WS_HEAD_BYTES_MAX is waited for.
 * Owner:  the caller owns the buffer; a payload lives until he consumes or moves its bytes.
 * Thread: one at a time.
 * Errors: what a peer does wrong is an event, WS_EVENT_FAIL, with the code to close with. After it, and after
 *         a close frame, the rest of the stream is swallowed without events.
 * Source: RFC 6455 sections 5 and 7.4; close codes 1012 to 1014 from IANA's registry. No extensions.
 */
#ifndef PARLEY_NET_WS_FRAME_H
#define PARLEY_NET_WS_FRAME_H

#include "net/utf8_stream.h"
#include "src/base/base.h"

enum {
    WS_HEAD_BYTES_MAX = 14, /* 2, an extended length of 8, a mask of 4 */
    WS_SERVER_HEAD_BYTES_MAX = 10,
    WS_CONTROL_PAYLOAD_BYTES_MAX = 125,
    WS_CLOSE_FRAME_BYTES_MAX = 2 + WS_CONTROL_PAYLOAD_BYTES_MAX,
};

enum ws_opcode {
    WS_CONTINUATION = 0x0,
    WS_TEXT = 0x1,
    WS_BINARY = 0x2,
    WS_CLOSE = 0x8,
    WS_PING = 0x9,
    WS_PONG = 0xa,
};

enum ws_close_code {
    WS_CODE_NORMAL = 1000,
    WS_CODE_GOING_AWAY = 1001,
    WS_CODE_PROTOCOL = 1002,
    WS_CODE_NONE = 1005, /* never on the wire: the close frame had no code */
    WS_CODE_BAD_UTF8 = 1007,
    WS_CODE_POLICY = 1008,
    WS_CODE_TOO_BIG = 1009,
    WS_CODE_INTERNAL = 1011,
    WS_CODE_TRY_LATER = 1013,
    WS_CODE_TOKEN_EXPIRED = 4401, /* ours: connect again with another token */
};

enum ws_event_kind {
    WS_EVENT_NONE, /* the next frame is not here yet */
    WS_EVENT_DATA, /* a message, or a fragment of one */
    WS_EVENT_PING, /* answer with a pong of the same payload */
    WS_EVENT_PONG,
    WS_EVENT_CLOSE, /* answer with a close of the same code; payload is the reason */
    WS_EVENT_FAIL,  /* send a close with close_code, then close the connection */
};

struct ws_event {
    enum ws_event_kind kind;
    bool text;           /* data: text, checked to be UTF-8; else binary */
    bool first, last;    /* data: both are set on a message that came in one frame */
    uint16_t close_code; /* close, fail */
    uint32_t need_bytes; /* none: length that the buffer must reach before the next call can do more */
    struct span payload;
};

struct ws_parser {
    uint32_t message_bytes_max;
    uint32_t message_bytes;  /* of the fragments so far */
    uint8_t message_opcode;  /* of the message under way; WS_CONTINUATION when there is none */
    bool finished;           /* closed or failed */
    struct utf8_stream utf8; /* of the message under way */
};
_Static_assert(sizeof(struct ws_parser) <= 64, "every idle connection holds one");

struct ws_parser ws_parser_of(uint32_t message_bytes_max);
/* `data` is unmasked in place as far as it was consumed. Returns the bytes consumed. */
PARLEY_MUST_USE size_t ws_parser_feed(struct ws_parser *p, uint8_t *data, size_t len, struct ws_event *event);

/* May this code stand in a close frame? */
bool ws_close_code_valid(unsigned code);

/* Each returns the bytes written. The head of a server's frame: the payload follows as it is. */
size_t ws_frame_encode_head(uint8_t out[WS_SERVER_HEAD_BYTES_MAX], enum ws_opcode opcode, bool fin,
                            uint64_t payload_bytes);
/* A server's whole close frame. WS_CODE_NONE: without code and reason; a reason too long is cut between
 * characters. */
size_t ws_frame_encode_close(uint8_t out[WS_CLOSE_FRAME_BYTES_MAX], unsigned code, struct span reason);
/* For tools and tests: a client's whole, masked frame. `out` has room for WS_HEAD_BYTES_MAX + payload.len. */
size_t ws_frame_encode_masked(uint8_t *out, enum ws_opcode opcode, bool fin, struct span payload,
                              const uint8_t mask[4]);

#endif

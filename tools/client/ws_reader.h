/* tools/client/ws_reader.h: WebSocket frames as a client reads them: unmasked, from a server.
 *
 * Why:    net/ws_frame.h holds clients to their rules and refuses every frame without a mask; here it is the other way
 *         round. It shares that one's events, so that net/ws_message.h joins fragments of both.
 * Shape:  input buffer -> ws_reader_feed -> {bytes consumed, at most one event} -> again until WS_EVENT_NONE.
 *         A frame is taken only as a whole.
 * Owner:  the caller owns the buffer; payloads point into it.
 * Thread: one at a time.
 * Errors: what the server does wrong is WS_EVENT_FAIL with a close code. Texts are checked to be UTF-8 when they come in
 *         one frame; joined ones by who joins them.
 * Source: RFC 6455 section 5. No extensions.
 */
#ifndef PARLEY_TOOLS_WS_READER_H
#define PARLEY_TOOLS_WS_READER_H

#include "net/ws_frame.h"

struct ws_reader {
    uint32_t message_bytes_max, message_bytes; /* of the fragments so far */
    bool within, text;                         /* a fragmented message is under way, and of which kind */
};

PARLEY_MUST_USE size_t ws_reader_feed(struct ws_reader *r, const uint8_t *data, size_t len,
                                      struct ws_event *event);

#endif

/* net/utf8_stream.h: is a text, that arrives in pieces, valid UTF-8?
 *
 * Why:    a WebSocket message may be cut inside a character; checking only the whole would mean holding it.
 * Shape:  feed, feed, ... done. Refuses overlong forms, surrogates and what lies above U+10FFFF.
 * Owner:  plain value of three bytes; a zeroed one is ready.
 * Thread: any.
 * Errors: feed answers false once and for ever: a failed stream stays failed until it is zeroed.
 * Source: RFC 3629 section 4, Unicode 15 table 3-7.
 */
#ifndef PARLEY_NET_UTF8_STREAM_H
#define PARLEY_NET_UTF8_STREAM_H

#include "src/base/base.h"

struct utf8_stream {
    uint8_t left;      /* continuation bytes that the character under way still needs */
    uint8_t low, high; /* what the next of them may be; low > high means failed */
};

PARLEY_MUST_USE bool utf8_stream_feed(struct utf8_stream *s, const uint8_t *data, size_t len);
/* True when nothing failed and no character is under way. */
bool utf8_stream_done(const struct utf8_stream *s);
/* The whole text at once. */
bool utf8_stream_valid(const uint8_t *data, size_t len);

#endif

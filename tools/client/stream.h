/* tools/client/stream.h: a TCP connection for tools: puts never wait, a turn waits for both directions.
 *
 * Why:    who sends hundreds of messages ahead must read the answers meanwhile, or both ends wait for each other.
 * Shape:  stream_open -> {stream_put -> out, stream_turn: out -> socket -> in} -> stream_take -> stream_close
 * Owner:  a zeroed stream is closed. Input moves with the next turn.
 * Thread: one at a time; blocks only in stream_open and stream_turn, no longer than told. A signal ends a turn early.
 * Errors: PARLEY_ERR_IO: no connection, or it broke; PARLEY_ERR_END: the peer closed it; PARLEY_ERR_AGAIN: nothing came
 *         in time; PARLEY_ERR_NOMEM. After IO and END the stream is still to be closed.
 */
#ifndef PARLEY_TOOLS_STREAM_H
#define PARLEY_TOOLS_STREAM_H

#include "tools/client/text.h"
#include "tools/client/url.h"

struct stream {
    bool open;
    int fd;
    struct text in, out;
    size_t in_from, out_from; /* what lies before is done */
};

PARLEY_MUST_USE int stream_open(struct stream *s, const struct url *url, uint64_t timeout_ms);
void stream_close(struct stream *s);
PARLEY_MUST_USE int stream_put(struct stream *s, const void *data, size_t len);
/* Writes what it can and reads once. 0: something came or all is written that was to be. */
PARLEY_MUST_USE int stream_turn(struct stream *s, uint64_t timeout_ms);
/* The same for many; closed ones are passed over. errors[i] gets each one's result; the call itself only says whether
 * there was anything (0) or not (AGAIN). */
PARLEY_MUST_USE int stream_turn_all(struct stream *const *streams, int *errors, size_t count,
                                    uint64_t timeout_ms);
/* What came and is not taken yet; writable, because frames are unmasked in place. */
uint8_t *stream_input(struct stream *s, size_t *len);
void stream_take(struct stream *s, size_t len);

#endif

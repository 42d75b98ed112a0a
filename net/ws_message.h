/* net/ws_message.h: joins the fragments of a WebSocket message.
 *
 * Why:    nearly all messages come in one frame and need no buffer; only a fragmented one gets one, bounded.
 * Shape:  data event -> ws_message_add -> whole message, or not yet. Control frames pass by it.
 * Owner:  the connection; holds memory only between the first and the last fragment and until the next add or
 *         reset. A zeroed one is empty.
 * Thread: one at a time.
 * Errors: 0 or a negative enum parley_err; on error nothing has changed.
 */
#ifndef PARLEY_NET_WS_MESSAGE_H
#define PARLEY_NET_WS_MESSAGE_H

#include "net/ws_frame.h"

struct ws_message {
    uint8_t *data;
    uint32_t len, room;
};

/* Sets *whole when the message is complete: `whole` then lives as long as the event's payload, or until the
 * next call. The parser has bounded the sum of the fragments by its message_bytes_max.
 * Errors: PARLEY_ERR_NOMEM: close with WS_CODE_TRY_LATER. */
PARLEY_MUST_USE int ws_message_add(struct ws_message *m, const struct ws_event *event, struct span *whole,
                                   bool *complete);
/* Frees the buffer; the message is empty and usable again. */
void ws_message_reset(struct ws_message *m);

#endif

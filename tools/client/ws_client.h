/* tools/client/ws_client.h: a WebSocket to a Parley server, with many messages under way.
 *
 * Shape:  ws_client_open -> {ws_client_send | stream_turn of client->stream | ws_client_next -> text} -> ws_client_close
 *         Pings are answered within ws_client_next.
 * Owner:  a zeroed client is closed. A text lives until the next call.
 * Thread: one at a time; only ws_client_open and the turns block.
 * Errors: PARLEY_ERR_IO: no connection; PARLEY_ERR_END: the server closed it (close_code says why); PARLEY_ERR_AGAIN: no
 *         whole message yet; PARLEY_ERR_BAD_REQUEST: not a WebSocket that we understand; PARLEY_ERR_FORBIDDEN: the server
 *         refused the upgrade: `status` and `refusal` (its body) say why. NOMEM.
 */
#ifndef PARLEY_TOOLS_WS_CLIENT_H
#define PARLEY_TOOLS_WS_CLIENT_H

#include "net/ws_message.h"
#include "tools/client/stream.h"
#include "tools/client/ws_reader.h"

enum { WS_CLIENT_TIMEOUT_MS = 30000, WS_CLIENT_MESSAGE_BYTES_MAX = 8 << 20 };

struct ws_client {
    struct stream stream;
    struct ws_reader reader;
    struct ws_message message;
    struct text frame, refusal;
    unsigned close_code;
    int status;
};

PARLEY_MUST_USE int ws_client_open(struct ws_client *client, const struct url *url, const char *path,
                                   const char *token);
void ws_client_close(struct ws_client *client);
/* Queued; written by the next turns. */
PARLEY_MUST_USE int ws_client_send(struct ws_client *client, struct span text);
PARLEY_MUST_USE int ws_client_next(struct ws_client *client, struct span *text);

#endif

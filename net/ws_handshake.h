/* net/ws_handshake.h: may this request become a WebSocket, and what proves that we understood it?
 *
 * Why:    the accept value shows a client that it does not talk to a plain HTTP server or a cache.
 * Shape:  fields of a parsed request -> check -> value of Sec-WebSocket-Accept.
 * Owner:  spans are the caller's; a field that came several times is joined by him with ", ", except that the
 *         key and the version must be single: he passes `repeated` then.
 * Thread: any.
 * Errors: PARLEY_ERR_METHOD, PARLEY_ERR_BAD_REQUEST. With the latter, name the version that we speak in
 *         Sec-WebSocket-Version when version_mismatch is set (status 426).
 * Source: RFC 6455 section 4.2.
 */
#ifndef PARLEY_NET_WS_HANDSHAKE_H
#define PARLEY_NET_WS_HANDSHAKE_H

#include "src/base/base.h"

enum { WS_ACCEPT_BYTES = 28 }; /* the base64 of a SHA-1 */

struct ws_handshake {
    struct span method;     /* "GET", in this case */
    bool http_1_1;          /* HTTP/1.1 or later */
    bool repeated;          /* the key or the version came more than once */
    struct span upgrade;    /* a list with the token "websocket" */
    struct span connection; /* a list with the token "upgrade" */
    struct span version;
    struct span key;
    bool version_mismatch; /* out */
};

/* `accept` gets WS_ACCEPT_BYTES characters and a terminating zero. */
PARLEY_MUST_USE int ws_handshake_check(struct ws_handshake *h, char accept[WS_ACCEPT_BYTES + 1]);

#endif

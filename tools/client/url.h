/* tools/client/url.h: where a server is: http://HOST[:PORT][/PREFIX].
 *
 * Shape:  text -> url_parse -> host, port and the path before /v1. [::1] is an address of IPv6. No user, query or
 *         fragment; https is not spoken here: whoever has TLS has a proxy in front.
 * Thread: any.
 * Errors: PARLEY_ERR_BAD_REQUEST.
 */
#ifndef PARLEY_TOOLS_URL_H
#define PARLEY_TOOLS_URL_H

#include "src/base/base.h"

enum { URL_HOST_BYTES = 256, URL_PORT_BYTES = 6, URL_PREFIX_BYTES = 256 };

struct url {
    char host[URL_HOST_BYTES]; /* without brackets */
    char port[URL_PORT_BYTES];
    char prefix[URL_PREFIX_BYTES]; /* "" or "/...", no slash at its end */
};

PARLEY_MUST_USE int url_parse(const char *text, struct url *out);

#endif

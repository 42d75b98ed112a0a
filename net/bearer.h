/* net/bearer.h: who asks? The bearer token of a request, checked.
 *
 * Shape:  Authorization: Bearer TOKEN, or, where the caller allows it, the query's access_token (RFC 6750): a browser can
 *         give a WebSocket no field.
 * Thread: that of the verifier.
 * Errors: as jwt_verify's; -PARLEY_ERR_BAD_TOKEN also for names that are too long.
 */
#ifndef PARLEY_NET_BEARER_H
#define PARLEY_NET_BEARER_H

#include <h2o.h>

#include "net/jwt_verifier.h"

PARLEY_MUST_USE int bearer_check(struct jwt_verifier *tokens, h2o_req_t *req, bool query_allowed,
                                 uint64_t now_ms, struct jwt_claims *claims);

/* By the value of the field Authorization alone; data NULL: there is none. */
PARLEY_MUST_USE int bearer_check_field(struct jwt_verifier *tokens, struct span authorization,
                                       uint64_t now_ms, struct jwt_claims *claims);

#endif

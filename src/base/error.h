/* src/base/error.h: the one table of errors.
 *
 * Why:    a failure has the same name in the code, on the wire, in HTTP and in the metrics.
 * Shape:  functions return 0 or one of these, negated where they return int; on error nothing has changed.
 * Thread: constants.
 */
#ifndef PARLEY_BASE_ERROR_H
#define PARLEY_BASE_ERROR_H

/* X(name, wire code, HTTP status, text) */
#define PARLEY_ERRORS(X)                                                                                     \
    X(BAD_REQUEST, "bad_request", 400, "The request is not of the documented form.")                         \
    X(BAD_JSON, "bad_json", 400, "That is not valid JSON.")                                                  \
    X(BAD_UTF8, "bad_utf8", 400, "A text is not valid UTF-8.")                                               \
    X(BAD_TOKEN, "bad_token", 401, "The bearer token is missing, malformed or not signed by this server.")   \
    X(TOKEN_EXPIRED, "token_expired", 401, "The bearer token is expired or not valid yet.")                  \
    X(FORBIDDEN, "forbidden", 403, "The token or the role does not allow this.")                             \
    X(NOT_MEMBER, "not_member", 403, "Only members of the conversation may do this.")                        \
    X(NOT_FOUND, "not_found", 404, "There is no such thing.")                                                \
    X(METHOD, "method_not_allowed", 405, "This path does not take this method.")                             \
    X(CONFLICT, "conflict", 409, "The same client id was used with another payload.")                        \
    X(LAST_OWNER, "last_owner", 409, "The last owner cannot leave: make another member owner first.")        \
    X(FENCED, "fenced", 410, "The client id was fenced: nothing was stored under it, nor will be.")          \
    X(LENGTH_REQUIRED, "length_required", 411, "Send a Content-Length; Transfer-Encoding is not accepted.")  \
    X(TOO_LARGE, "too_large", 413, "The request or one of its fields is too large.")                         \
    X(LIMIT, "limit_reached", 422, "A limit of the conversation is reached.")                                \
    X(RATE, "rate_limited", 429, "Too many messages in a short time: retry after the given time.")           \
    X(HEAD_TOO_LARGE, "head_too_large", 431, "The request head is too large.")                               \
    X(INTERNAL, "internal", 500, "The server failed; the request may be retried.")                           \
    X(FULL, "overloaded", 503, "The server is busy: retry after the given time.")                            \
    X(NOMEM, "overloaded", 503, "The server is out of memory: retry after the given time.")                  \
    X(CLOSING, "closing", 503, "The server is shutting down: connect again.")                                \
    X(DISK_FULL, "disk_full", 507, "The disk is full: reading goes on, sending is refused.")                 \
    /* Below here: never sent to a client. */                                                                \
    X(IO, "io", 500, "A file operation failed.")                                                             \
    X(CORRUPT, "corrupt", 500, "Stored data is damaged.")                                                    \
    X(LOST, "lost", 500, "Acknowledged data is missing.")                                                    \
    X(END, "end", 500, "There is no more.")                                                                  \
    X(AGAIN, "again", 503, "Not yet: something must be loaded first.")

enum parley_err {
    PARLEY_OK = 0,
#define X(name, wire, status, text) PARLEY_ERR_##name,
    PARLEY_ERRORS(X)
#undef X
        PARLEY_ERR_COUNT
};

/* Each takes an enum parley_err or its negative; an unknown one is described as INTERNAL. Never NULL. */
const char *parley_err_code(int err);
const char *parley_err_text(int err);
int parley_err_status(int err);

#endif

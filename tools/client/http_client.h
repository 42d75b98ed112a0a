/* tools/client/http_client.h: requests to a Parley server over one kept-alive connection.
 *
 * Why:    one request at a time for commands, and a begin/poll pair for those who keep several connections busy.
 * Shape:  http_client_init -> {http_begin -> (stream turns) -> http_poll -> answer} -> http_client_close
 *         http_call does one request and waits. Connections open by themselves.
 * Owner:  url and token are borrowed for the client's life; an answer lives until the next request.
 * Thread: one at a time.
 * Errors: of the way there: PARLEY_ERR_IO (no connection, lost, or no answer in time), PARLEY_ERR_BAD_REQUEST (no HTTP
 *         answer), PARLEY_ERR_TOO_LARGE, PARLEY_ERR_NOMEM; PARLEY_ERR_AGAIN: not here yet. What the server refuses is an
 *         answer with a status. A request on a kept connection that the server has just closed is sent once more: all
 *         requests of the API can be repeated.
 */
#ifndef PARLEY_TOOLS_HTTP_CLIENT_H
#define PARLEY_TOOLS_HTTP_CLIENT_H

#include "tools/client/stream.h"

enum { HTTP_TIMEOUT_MS = 30000, HTTP_ANSWER_BYTES_MAX = 256 << 20 };

struct http_client {
    const struct url *url;
    const char *token;
    struct stream stream;
    bool waiting;        /* a request is under way */
    bool kept;           /* its connection had served another one before */
    struct text request; /* under way: to send it again */
    size_t taken;        /* bytes of the last answer, taken with the next request */
    bool close_after;
};

struct http_answer {
    int status;
    struct span body;
};

void http_client_init(struct http_client *client, const struct url *url, const char *token);
void http_client_close(struct http_client *client);
/* `path` begins with a slash and is encoded already; an empty body is none. */
PARLEY_MUST_USE int http_begin(struct http_client *client, const char *method, const char *path,
                               struct span body);
/* After a turn of client->stream that ended with `turn` (its result). On an error other than AGAIN the request is over
 * and the connection closed. */
PARLEY_MUST_USE int http_poll(struct http_client *client, int turn, struct http_answer *answer);
PARLEY_MUST_USE int http_call(struct http_client *client, const char *method, const char *path,
                              struct span body, struct http_answer *answer);

/* The head of an answer, for who upgrades: its status, its length with the empty line, its Content-Length (SIZE_MAX when
 * there is none), and the value of the field `name` (data NULL when there is none; lower case, NULL to skip).
 * Errors: AGAIN, BAD_REQUEST, TOO_LARGE. */
struct http_answer_head {
    int status;
    size_t head_bytes, content_length;
    bool chunked, close;
    const char *name;
    struct span value;
};
PARLEY_MUST_USE int http_answer_head(const uint8_t *data, size_t len, struct http_answer_head *head);
/* The lines that every request has: host and token. */
void http_put_head(struct text *to, const struct url *url, const char *token, const char *method,
                   const char *path);

#endif

/* tools/commands/session.h: what all commands that talk to a server share: where it is, who asks, and how it is told.
 *
 * Shape:  SESSION_FLAGS in the command's table -> session_begin -> session_ask ... -> session_end
 *         The token is --token or PARLEY_TOKEN; or it is minted with the secret in --data for the user --as. With a
 *         service token of one's own, --as names the user that it acts for.
 * Owner:  the command's.
 * Thread: one.
 * Errors: each call that fails has told why on standard error; the command ends with EXIT_FAILURE, or EXIT_USAGE when
 *         session_begin says BAD_REQUEST.
 */
#ifndef PARLEY_TOOLS_SESSION_H
#define PARLEY_TOOLS_SESSION_H

#include <jansson.h>

#include "net/jwt.h"
#include "tools/client/http_client.h"
#include "tools/client/refusal.h"
#include "tools/commands/flags.h"

enum { EXIT_USAGE = 2 };

struct session {
    const char *url_text, *token, *data, *as;
    bool json;
    bool service; /* mint a service's token */
    uint64_t retry_for_s;
    bool acts; /* `as` goes along with each request */
    struct url url;
    char minted[JWT_TOKEN_BYTES_MAX + 1];
    struct http_client http;
};

#define SESSION_FLAGS(s)                                                                                     \
    {"url", FLAG_TEXT, &(s)->url_text, "URL", "the server (PARLEY_URL, else http://127.0.0.1:8080)"},        \
        {"token", FLAG_TEXT, &(s)->token, "TOKEN", "a bearer token (PARLEY_TOKEN)"},                         \
        {"data", FLAG_TEXT, &(s)->data, "DIR",                                                               \
         "instead of a token: mint one with the secret in the server's\ndata folder, for the user --as"},    \
        {"as", FLAG_TEXT, &(s)->as, "USER",                                                                  \
         "with --data: who asks; with a service's token: whom it acts for"},                                 \
        {"retry-for", FLAG_NUMBER, &(s)->retry_for_s, "SECONDS",                                             \
         "how long to try again when the server is away or busy"},                                           \
    {                                                                                                        \
        "json", FLAG_SWITCH, &(s)->json, NULL, "print JSON for machines"                                     \
    }

PARLEY_MUST_USE int session_begin(struct session *s);
void session_end(struct session *s);
/* The token has expired. With --data another one takes its place: 0; else tells, and answers PARLEY_ERR_FORBIDDEN. */
PARLEY_MUST_USE int session_renew_token(struct session *s);

/* One request; failures that pass are tried again for retry_for_s. *out is the answer's JSON, the caller's to decref.
 * `refusal` (may be NULL) gets what the server said; then nothing is told and the call answers PARLEY_ERR_FORBIDDEN.
 * The path is changed: --as is put behind it. */
PARLEY_MUST_USE int session_ask(struct session *s, const char *method, struct text *path, struct span body,
                                json_t **out, struct refusal *refusal);
/* Writes "parley: ..." about a server that refused or is not there. */
void session_tell_refusal(const struct refusal *refusal);
void session_tell_unreachable(const struct session *s, int err);

/* "/v1/conversations/ID" and what follows, if ID looks like one; else tells and answers BAD_REQUEST. */
PARLEY_MUST_USE int session_path(struct text *path, const char *conversation, const char *rest);
/* A fresh client id: `out` gets 28 characters and a zero. */
void session_client_id(char out[32]);
void session_print_json(const json_t *value);
/* SIGINT and SIGTERM set a flag from now on, and end waits. */
void session_catch_signals(void);
bool session_stopped(void);
void session_sleep_ms(uint64_t ms);

#endif

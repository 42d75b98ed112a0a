/* tools/commands/session.h: what all commands that talk to a server share: where it is, who asks, and how it is told.
 *
 * Shape:  the command's form -> session_flags -> session_begin -> session_ask ... -> session_end
 *         The token is --token or PARLEY_TOKEN; or it is minted with the secret in --data for the user --as. With a
 *         service token of one's own, --as names the user that it acts for.
 * Owner:  the command's.
 * Thread: one.
 * Errors: each call that fails has told why on standard error; the command ends with EXIT_FAILURE, or with what
 *         session_flags and session_begin answer.
 */
#ifndef PARLEY_TOOLS_SESSION_H
#define PARLEY_TOOLS_SESSION_H

#include <jansson.h>

#include "net/jwt.h"
#include "tools/client/http_client.h"
#include "tools/client/refusal.h"
#include "tools/commands/flags.h"

enum { EXIT_USAGE = 2, COMMAND_RUNS = -1 };

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

/* Reads the command's flags and those that all have in common. COMMAND_RUNS, or the exit status to end with. */
PARLEY_MUST_USE int session_flags(struct session *s, struct command_form *form, int argc, char **argv,
                                  char ***words, size_t *count);
/* EXIT_SUCCESS, or the exit status to end with. */
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

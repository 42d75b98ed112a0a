#include "tools/commands/session.h"

#include <poll.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "tools/client/backoff.h"
#include "tools/commands/mint.h"

enum { LIFETIME_S = 86400, ID_HEX_BYTES = 32 };

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
    (void)number;
    stopped = 1;
}

void session_catch_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART: poll is to end */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool session_stopped(void)
{
    return stopped;
}

void session_sleep_ms(uint64_t ms)
{
    uint64_t until = clock_monotonic_ms(clock_real()) + ms;
    for (uint64_t now; !stopped && (now = clock_monotonic_ms(clock_real())) < until;)
        (void)poll(NULL, 0, (int)(until - now));
}

static const char *or_environment(const char *value, const char *name)
{
    const char *other = value ? NULL : getenv(name);
    return other && *other ? other : value;
}

static int begin_minted(struct session *s)
{
    struct jwt_claims claims = {.exp_s = clock_wall_ms(clock_real()) / 1000 + LIFETIME_S};
    if (!s->as) {
        fprintf(stderr, "parley: --data needs --as USER: for whom is the token?\n");
        return -PARLEY_ERR_BAD_REQUEST;
    }
    if (!mint_claim(claims.sub, &claims.sub_len, sizeof claims.sub, s->as) || claims.sub_len == 0 ||
        !mint_claim(claims.scope, &claims.scope_len, sizeof claims.scope, s->service ? "service" : "")) {
        fprintf(stderr, "parley: --as is no user id\n");
        return -PARLEY_ERR_BAD_REQUEST;
    }
    int err = mint(s->data, NULL, &claims, s->minted);
    s->token = s->minted;
    return err ? -PARLEY_ERR_FORBIDDEN : 0;
}

int session_renew_token(struct session *s)
{
    if (s->data)
        return begin_minted(s);
    fprintf(
        stderr,
        "parley: the token has expired: `parley token --help` tells how to get another; --data mints them as "
        "they are needed\n");
    return -PARLEY_ERR_FORBIDDEN;
}

static bool token_clean(const char *token)
{
    for (; *token; token++)
        if (*token <= ' ' || *token > '~')
            return false;
    return true;
}

static int begin(struct session *s)
{
    const char *given = s->token;
    if (sodium_init() < 0)
        return -PARLEY_ERR_INTERNAL;
    s->url_text = or_environment(s->url_text, "PARLEY_URL");
    if (!s->url_text)
        s->url_text = "http://127.0.0.1:8080";
    if (url_parse(s->url_text, &s->url) != 0) {
        fprintf(stderr,
                "parley: not the URL of a server: %s (want http://HOST[:PORT]; TLS is a proxy's work)\n",
                s->url_text);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    if (!s->data)
        s->token = or_environment(s->token, "PARLEY_TOKEN");
    if ((given && s->data) || (!s->data && !s->token)) {
        fprintf(stderr, "parley: %s: give --token (or PARLEY_TOKEN), or --data DIR --as USER\n",
                given ? "two tokens" : "no token");
        return -PARLEY_ERR_BAD_REQUEST;
    }
    int err = s->data ? begin_minted(s) : 0;
    if (err)
        return err;
    if (!token_clean(s->token)) {
        fprintf(stderr, "parley: the token holds characters that no token has\n");
        return -PARLEY_ERR_BAD_REQUEST;
    }
    s->acts = s->as && !s->data;
    http_client_init(&s->http, &s->url, s->token);
    return 0;
}

int session_begin(struct session *s)
{
    int err = begin(s);
    return err == 0 ? EXIT_SUCCESS : err == -PARLEY_ERR_BAD_REQUEST ? EXIT_USAGE : EXIT_FAILURE;
}

int session_flags(struct session *s, struct command_form *form, int argc, char **argv, char ***words,
                  size_t *count)
{
    const struct flag common[] = {
        {"url", FLAG_TEXT, &s->url_text, "URL", "the server (PARLEY_URL, else http://127.0.0.1:8080)"},
        {"token", FLAG_TEXT, &s->token, "TOKEN", "a bearer token (PARLEY_TOKEN)"},
        {"data", FLAG_TEXT, &s->data, "DIR",
         "instead of a token: mint one with the secret in the server's\ndata folder, for the user --as"},
        {"as", FLAG_TEXT, &s->as, "USER", "with --data: who asks; with a service's token: whom it acts for"},
        {"retry-for", FLAG_NUMBER, &s->retry_for_s, "SECONDS",
         "how long to try again when the server is away or busy"},
        {"json", FLAG_SWITCH, &s->json, NULL, "print JSON for machines"},
    };
    form->common = common;
    form->common_count = PARLEY_ARRAY_COUNT(common);
    enum flags_result result = flags_read(form, argc, argv, words, count);
    form->common = NULL; /* its life ends here */
    form->common_count = 0;
    return result == FLAGS_RUN ? COMMAND_RUNS : result == FLAGS_HELP ? EXIT_SUCCESS : EXIT_USAGE;
}

void session_end(struct session *s)
{
    http_client_close(&s->http);
    sodium_memzero(s->minted, sizeof s->minted);
}

void session_tell_refusal(const struct refusal *refusal)
{
    fprintf(stderr, "parley: the server refused: %s: %s\n", refusal->code, refusal->text);
    if (refusal_is(refusal, "bad_token") || refusal_is(refusal, "token_expired"))
        fprintf(stderr, "parley: `parley token --help` tells how to get another token\n");
    else if (refusal_is(refusal, "not_found"))
        fprintf(stderr,
                "parley: is it another server's? `parley conversation list` shows the conversations here\n");
}

void session_tell_unreachable(const struct session *s, int err)
{
    if (err == -PARLEY_ERR_IO || err == -PARLEY_ERR_END)
        fprintf(stderr, "parley: no answer from %s: is parleyd running there? --url names another\n",
                s->url_text);
    else if (err == -PARLEY_ERR_BAD_REQUEST)
        fprintf(stderr, "parley: what answers at %s is not Parley\n", s->url_text);
    else
        fprintf(stderr, "parley: %s\n", parley_err_text(err));
}

/* Asks until there is an answer that does not pass, or the time is over. */
static int ask_patiently(struct session *s, const char *method, const char *path, struct span body,
                         struct http_answer *answer)
{
    struct backoff backoff = {.limit_ms = s->retry_for_s * 1000};
    for (;;) {
        struct refusal refusal = {0};
        uint64_t wait;
        int err = http_call(&s->http, method, path, body, answer);
        if (!err && answer->status >= 400)
            refusal_read(&refusal, answer->status, answer->body);
        if (!(err == -PARLEY_ERR_IO || (!err && refusal_passes(&refusal))))
            return err;
        if (stopped ||
            backoff_next(&backoff, clock_monotonic_ms(clock_real()), refusal.retry_after_ms, &wait) != 0)
            return err;
        session_sleep_ms(wait);
    }
}

int session_ask(struct session *s, const char *method, struct text *path, struct span body, json_t **out,
                struct refusal *refusal)
{
    struct http_answer answer;
    struct refusal own;
    *out = NULL;
    if (s->acts) {
        text_put_words(path, path->len && memchr(path->data, '?', path->len) ? "&as=" : "?as=");
        text_put_escaped(path, span_of_words(s->as));
    }
    int err = path->failed ? -PARLEY_ERR_NOMEM : ask_patiently(s, method, text_words(path), body, &answer);
    if (err) {
        session_tell_unreachable(s, err);
        return err;
    }
    if (answer.status >= 300) {
        refusal_read(refusal ? refusal : &own, answer.status, answer.body);
        if (!refusal)
            session_tell_refusal(&own);
        return -PARLEY_ERR_FORBIDDEN;
    }
    if (answer.body.len == 0) {
        *out = json_object();
        return *out ? 0 : -PARLEY_ERR_NOMEM;
    }
    *out = json_loadb((const char *)answer.body.data, answer.body.len, JSON_ALLOW_NUL, NULL);
    if (!*out)
        session_tell_unreachable(s, -PARLEY_ERR_BAD_REQUEST);
    return *out ? 0 : -PARLEY_ERR_BAD_REQUEST;
}

int session_path(struct text *path, const char *conversation, const char *rest)
{
    if (strlen(conversation) != ID_HEX_BYTES || strspn(conversation, "0123456789abcdef") != ID_HEX_BYTES) {
        fprintf(stderr,
                "parley: not the id of a conversation: %s (%d hexadecimal digits; `parley conversation list` "
                "shows yours)\n",
                conversation, ID_HEX_BYTES);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    text_clear(path);
    text_put_words(path, "/v1/conversations/");
    text_put_words(path, conversation);
    text_put_words(path, rest);
    return path->failed ? -PARLEY_ERR_NOMEM : 0;
}

void session_client_id(char out[32])
{
    uint8_t raw[12];
    randombytes_buf(raw, sizeof raw);
    memcpy(out, "cli-", 4);
    sodium_bin2hex(out + 4, 28, raw, sizeof raw);
}

void session_print_json(const json_t *value)
{
    char *line = json_dumps(value, JSON_COMPACT);
    if (line)
        puts(line);
    free(line);
}

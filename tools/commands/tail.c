#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/json.h"
#include "src/base/clock.h"
#include "src/base/error.h"
#include "tools/client/backoff.h"
#include "tools/client/ws_client.h"
#include "tools/commands/commands.h"
#include "tools/commands/message_print.h"
#include "tools/commands/messages.h"
#include "tools/commands/sequence.h"
#include "tools/commands/session.h"

enum { TURN_MS = 1000, ASK_EVERY_MS = 1000 };

static const char about[] =
    "Prints messages as they come, each once and in order, until Ctrl-C: first the newest --last ones that "
    "are there\n"
    "already, or all after the message --after. A lost connection is opened again and goes on where it was.\n"
    "A service that is not in the conversation itself is not told of it live; then tail asks each second.\n"
    "\n"
    "  parley tail 0123456789abcdef0123456789abcdef\n"
    "  parley tail --after 0 --json 0123456789abcdef0123456789abcdef | while read -r message; do ...; done\n";

struct tail {
    struct session session;
    struct ws_client ws;
    struct sequence sequence;
    struct backoff backoff;
    struct text resume;
    const char *conversation, *after;
    uint64_t last, count, printed, asked_ms;
    char user[JWT_SUB_BYTES_MAX + 1]; /* of the token */
    bool failed, told_lost, asks;     /* asks: nothing comes live */
};

static bool over(const struct tail *t)
{
    return session_stopped() || t->failed || (t->count && t->printed >= t->count);
}

static void print_one(struct tail *t, const json_t *message)
{
    if (over(t))
        return;
    message_print(message, t->session.json);
    t->printed++;
    if (fflush(stdout) != 0) {
        perror("parley: standard output");
        t->failed = true;
    }
}

static void emit(void *owner, struct span text)
{
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_ALLOW_NUL, NULL);
    static const char *const only_live[] = {"type", "conversation", "replay"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(only_live); i++)
        json_object_del(root, only_live[i]);
    print_one(owner, root);
    json_decref(root);
}

/* -- what is there already */

static int print_page(void *owner, const json_t *messages)
{
    struct tail *t = owner;
    size_t i;
    json_t *m;
    json_array_foreach(messages, i, m)
    {
        if (t->last)
            print_one(t, m);
        t->sequence.last_id = message_id(m);
        t->sequence.last_seq = (uint64_t)json_integer_value(json_object_get(m, "seq"));
    }
    return 0;
}

static int begin_at_the_end(struct tail *t)
{
    json_t *pages = json_array();
    int err = pages ? messages_before(&t->session, t->conversation, NULL, t->last ? t->last : 1, pages)
                    : -PARLEY_ERR_NOMEM;
    for (size_t i = err ? 0 : json_array_size(pages); i > 0; i--)
        err = print_page(t, json_array_get(pages, i - 1));
    json_decref(pages);
    return err;
}

static int begin_after(struct tail *t)
{
    if (json_id(span_of_words(t->after), &t->sequence.last_id))
        return 0;
    fprintf(stderr, "parley: --after is no message id: %s\n", t->after);
    return -PARLEY_ERR_BAD_REQUEST;
}

/* Is the conversation there, may he read it, and is he in it? */
static int look(struct tail *t)
{
    struct text path = {0};
    json_t *root = NULL;
    int err = session_path(&path, t->conversation, "");
    if (!err)
        err = session_ask(&t->session, "GET", &path, (struct span){0}, &root, NULL);
    t->asks = t->session.acts || !*json_words(root, "role");
    json_decref(root);
    text_free(&path);
    return err;
}

/* -- live */

static int send_resume(struct tail *t)
{
    char after[24];
    snprintf(after, sizeof after, "%" PRIu64, t->sequence.last_id);
    text_clear(&t->resume);
    text_put_words(&t->resume, "{\"type\":\"resume\",\"conversation\":\"");
    text_put_words(&t->resume, t->conversation);
    text_put_words(&t->resume, "\",\"after\":\"");
    text_put_words(&t->resume, after);
    text_put_words(&t->resume, "\"");
    if (t->session.acts) {
        text_put_words(&t->resume, ",\"as\":");
        text_put_json(&t->resume, span_of_words(t->session.as));
    }
    text_put_words(&t->resume, "}");
    sequence_resume(&t->sequence);
    t->asked_ms = clock_monotonic_ms(clock_real());
    return t->resume.failed ? -PARLEY_ERR_NOMEM : ws_client_send(&t->ws, text_span(&t->resume));
}

static int refused(struct tail *t, struct span text)
{
    struct refusal refusal;
    uint64_t wait;
    refusal_read(&refusal, 0, text);
    if (refusal_is(&refusal, "token_expired"))
        return -PARLEY_ERR_TOKEN_EXPIRED;
    if (refusal_passes(&refusal) &&
        backoff_next(&t->backoff, clock_monotonic_ms(clock_real()), refusal.retry_after_ms, &wait) == 0) {
        session_sleep_ms(wait);
        return -PARLEY_ERR_END; /* begin anew */
    }
    session_tell_refusal(&refusal);
    return -PARLEY_ERR_FORBIDDEN;
}

static int on_message(struct tail *t, const json_t *message, struct span text)
{
    int err = sequence_take(&t->sequence, message_id(message),
                            (uint64_t)json_integer_value(json_object_get(message, "seq")),
                            json_is_true(json_object_get(message, "replay")), text);
    return err == -PARLEY_ERR_AGAIN ? send_resume(t) : err;
}

static int on_event(const struct tail *t, const json_t *event)
{
    if (strcmp(json_words(event, "kind"), "removed") != 0 ||
        strcmp(json_words(event, "target"), t->user) != 0)
        return 0;
    fprintf(stderr, "parley: %s is not in the conversation any more\n", t->user);
    return -PARLEY_ERR_NOT_MEMBER;
}

static int on_frame(struct tail *t, struct span text)
{
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_ALLOW_NUL, NULL);
    const char *type = json_words(root, "type");
    bool ours = strcmp(json_words(root, "conversation"), t->conversation) == 0;
    int err = 0;
    if (strcmp(type, "message") == 0 && ours) {
        err = on_message(t, root, text);
    } else if (strcmp(type, "resumed") == 0 && ours) {
        backoff_reset(&t->backoff);
        t->told_lost = false;
        sequence_resumed(&t->sequence);
    } else if (strcmp(type, "lag") == 0) {
        err = send_resume(t);
    } else if (strcmp(type, "event") == 0 && ours && !t->asks) {
        err = on_event(t, root);
    } else if (strcmp(type, "error") == 0) {
        err = refused(t, text);
    } else if (strcmp(type, "hello") == 0) {
        snprintf(t->user, sizeof t->user, "%s", json_words(root, "user"));
    } else if (!root) {
        err = -PARLEY_ERR_BAD_REQUEST;
    } /* other types are other people's business */
    json_decref(root);
    return err;
}

static int talk(struct tail *t)
{
    int err = send_resume(t);
    while (!err && !over(t)) {
        struct span text;
        err = ws_client_next(&t->ws, &text);
        if (err == 0) {
            err = on_frame(t, text);
        } else if (err == -PARLEY_ERR_AGAIN) {
            err = stream_turn(&t->ws.stream, TURN_MS);
            err = err == -PARLEY_ERR_AGAIN ? 0 : err;
            if (!err && t->asks && !t->sequence.resuming &&
                clock_monotonic_ms(clock_real()) - t->asked_ms >= ASK_EVERY_MS)
                err = send_resume(t);
        }
    }
    return err == -PARLEY_ERR_END && t->ws.close_code == WS_CODE_TOKEN_EXPIRED ? -PARLEY_ERR_TOKEN_EXPIRED
                                                                               : err;
}

static bool passes(struct tail *t, int err)
{
    struct refusal refusal;
    if (err == -PARLEY_ERR_TOKEN_EXPIRED)
        return session_renew_token(&t->session) == 0;
    if (err != -PARLEY_ERR_FORBIDDEN || t->ws.status == 101)
        return err == -PARLEY_ERR_IO || err == -PARLEY_ERR_END;
    refusal_read(&refusal, t->ws.status, text_span(&t->ws.refusal));
    if (refusal_passes(&refusal))
        return true;
    if (refusal_is(&refusal, "token_expired"))
        return session_renew_token(&t->session) == 0;
    session_tell_refusal(&refusal);
    return false;
}

/* Connects, talks, and connects again until it is over. */
static int follow(struct tail *t)
{
    while (!over(t)) {
        int err = ws_client_open(&t->ws, &t->session.url, "/v1/ws", t->session.token);
        bool opened = err == 0;
        if (opened)
            err = talk(t);
        if (over(t))
            break;
        uint64_t wait;
        if (!passes(t, err) || backoff_next(&t->backoff, clock_monotonic_ms(clock_real()), 0, &wait) != 0) {
            if (err != -PARLEY_ERR_FORBIDDEN && err != -PARLEY_ERR_NOT_MEMBER &&
                err != -PARLEY_ERR_TOKEN_EXPIRED)
                session_tell_unreachable(&t->session, err);
            return err;
        }
        if (!t->told_lost)
            fprintf(stderr, "parley: %s; trying again\n",
                    opened ? "the connection was lost" : "no connection");
        t->told_lost = true;
        session_sleep_ms(wait);
    }
    return t->failed ? -PARLEY_ERR_IO : 0;
}

int command_tail(int argc, char **argv)
{
    struct tail t = {.last = 10, .session = {.retry_for_s = UINT64_MAX}};
    const struct flag flags[] = {
        {"after", FLAG_TEXT, &t.after, "ID", "begin after this message; 0: with the first"},
        {"last", FLAG_NUMBER, &t.last, "N", "begin with the newest N (10)"},
        {"count", FLAG_NUMBER, &t.count, "N", "end after N messages"},
    };
    struct command_form form = {.usage = "parley tail [options] CONVERSATION",
                                .about = about,
                                .flags = flags,
                                .flag_count = PARLEY_ARRAY_COUNT(flags),
                                .words_min = 1,
                                .words_max = 1};
    char **words;
    size_t count;
    int status = session_flags(&t.session, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    bool forever = t.session.retry_for_s == UINT64_MAX;
    if (forever)
        t.session.retry_for_s = 0; /* of the first requests: who is not there at all is told at once */
    status = session_begin(&t.session);
    if (status != EXIT_SUCCESS)
        return status;
    session_catch_signals();
    t.conversation = words[0];
    t.backoff.limit_ms = forever ? UINT64_MAX : t.session.retry_for_s * 1000;
    t.sequence.emit = emit;
    t.sequence.owner = &t;
    int err = look(&t);
    if (!err)
        err = t.after ? begin_after(&t) : begin_at_the_end(&t);
    if (!err)
        err = follow(&t);
    ws_client_close(&t.ws);
    text_free(&t.resume);
    session_end(&t.session);
    return err && !session_stopped() ? EXIT_FAILURE : EXIT_SUCCESS;
}

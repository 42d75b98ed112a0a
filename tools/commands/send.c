#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tools/commands/commands.h"
#include "tools/commands/message_print.h"
#include "tools/commands/session.h"

enum { BODY_MAX = 1 << 20 };

static const char about[] = "Sends one message, and prints its id and its number in the conversation when it "
                            "is on disk. The text is the\n"
                            "second word, or standard input without its last line feed. To repeat a send "
                            "whose answer was lost, give the\n"
                            "same --client-id again: it is stored once.\n"
                            "\n"
                            "  parley send 0123456789abcdef0123456789abcdef 'hello'\n"
                            "  date | parley send 0123456789abcdef0123456789abcdef\n";

struct send_options {
    const char *client_id, *content_type, *created_at;
};

static int read_input(struct text *body)
{
    size_t n;
    do {
        if (!text_reserve(body, 4096))
            return -PARLEY_ERR_NOMEM;
        n = fread(body->data + body->len, 1, 4096, stdin);
        body->len += n;
    } while (n && body->len <= BODY_MAX);
    if (body->len > BODY_MAX)
        return -PARLEY_ERR_TOO_LARGE;
    if (body->len && body->data[body->len - 1] == '\n')
        body->len--;
    return ferror(stdin) ? -PARLEY_ERR_IO : 0;
}

static int put_request(struct text *request, const struct send_options *o, struct span body)
{
    text_put_words(request, "{\"client_msg_id\":");
    text_put_json(request, span_of_words(o->client_id));
    text_put_words(request, ",\"body\":");
    text_put_json(request, body);
    if (o->content_type) {
        text_put_words(request, ",\"content_type\":");
        text_put_json(request, span_of_words(o->content_type));
    }
    if (o->created_at) {
        text_put_words(request, ",\"created_at\":");
        text_put_json(request, span_of_words(o->created_at));
    }
    text_put_words(request, "}");
    if (request->failed)
        return -PARLEY_ERR_NOMEM;
    return utf8_valid(text_span(request)) ? 0 : -PARLEY_ERR_BAD_UTF8;
}

static int run(struct session *s, const struct send_options *o, const char *conversation, const char *words)
{
    struct text path = {0}, body = {0}, request = {0};
    json_t *answer = NULL;
    int status = EXIT_USAGE;
    if (session_path(&path, conversation, "/messages") != 0)
        goto done;
    status = EXIT_FAILURE;
    int err = 0;
    if (words && strcmp(words, "-") != 0)
        text_put_words(&body, words);
    else
        err = read_input(&body);
    if (!err && body.len == 0)
        err = -PARLEY_ERR_END;
    if (!err)
        err = put_request(&request, o, text_span(&body));
    if (err) {
        fprintf(stderr, "parley: %s\n",
                err == -PARLEY_ERR_END ? "the message is empty" : parley_err_text(err));
        goto done;
    }
    if (session_ask(s, "POST", &path, text_span(&request), &answer, NULL) != 0)
        goto done;
    if (s->json)
        session_print_json(answer);
    else
        printf("%s\t%lld%s\n", json_words(answer, "id"),
               (long long)json_integer_value(json_object_get(answer, "seq")),
               json_is_true(json_object_get(answer, "duplicate")) ? "\tduplicate" : "");
    status = EXIT_SUCCESS;
done:
    json_decref(answer);
    text_free(&path);
    text_free(&body);
    text_free(&request);
    return status;
}

int command_send(int argc, char **argv)
{
    struct session s = {0};
    struct send_options o = {0};
    const struct flag flags[] = {
        {"client-id", FLAG_TEXT, &o.client_id, "ID", "names this send, 1 to 64 bytes (a random one)"},
        {"content-type", FLAG_TEXT, &o.content_type, "TYPE", "(text/plain)"},
        {"created-at", FLAG_TEXT, &o.created_at, "TIME", "RFC 3339; service tokens only"},
    };
    struct command_form form = {.usage = "parley send [options] CONVERSATION [TEXT | -]",
                                .about = about,
                                .flags = flags,
                                .flag_count = PARLEY_ARRAY_COUNT(flags),
                                .words_min = 1,
                                .words_max = 2};
    char **words, fresh[32];
    size_t count;
    int status = session_flags(&s, &form, argc, argv, &words, &count);
    if (status != COMMAND_RUNS)
        return status;
    status = session_begin(&s);
    if (status != EXIT_SUCCESS)
        return status;
    session_client_id(fresh);
    if (!o.client_id)
        o.client_id = fresh;
    status = run(&s, &o, words[0], count > 1 ? words[1] : NULL);
    session_end(&s);
    return status;
}

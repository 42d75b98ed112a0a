#include "tools/commands/messages.h"

#include <stdio.h>

#include "src/base/error.h"
#include "tools/commands/message_print.h"

/* One page; `way` is "after" or "before". *more: there is more in that direction. */
static int ask_page(struct session *s, const char *conversation, const char *way, const char *id,
                    uint64_t limit, json_t **root, json_t **messages, bool *more)
{
    struct text path = {0};
    char rest[64];
    snprintf(rest, sizeof rest, "/messages?limit=%u",
             (unsigned)(limit < MESSAGES_PAGE_MAX ? limit : MESSAGES_PAGE_MAX));
    int err = session_path(&path, conversation, rest);
    if (!err && id) {
        text_put_words(&path, "&");
        text_put_words(&path, way);
        text_put_words(&path, "=");
        text_put_escaped(&path, span_of_words(id));
    }
    if (!err)
        err = session_ask(s, "GET", &path, (struct span){0}, root, NULL);
    text_free(&path);
    if (err)
        return err;
    *messages = json_object_get(*root, "messages");
    *more = json_is_true(json_object_get(*root, "more"));
    if (!json_is_array(*messages) || (*more && json_array_size(*messages) == 0)) {
        session_tell_unreachable(s, -PARLEY_ERR_BAD_REQUEST);
        json_decref(*root);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    return 0;
}

int messages_after(struct session *s, const char *conversation, const char *after, uint64_t limit,
                   messages_fn *fn, void *owner)
{
    char at[32];
    bool more = true;
    snprintf(at, sizeof at, "%s", after);
    while (more && limit) {
        json_t *root, *messages;
        int err = ask_page(s, conversation, "after", at, limit, &root, &messages, &more);
        if (err)
            return err;
        size_t count = json_array_size(messages);
        if (count)
            snprintf(at, sizeof at, "%s", json_words(json_array_get(messages, count - 1), "id"));
        err = count ? fn(owner, messages) : 0;
        json_decref(root);
        if (err)
            return err;
        limit -= limit == UINT64_MAX ? 0 : count < limit ? count : limit;
    }
    return 0;
}

int messages_before(struct session *s, const char *conversation, const char *before, uint64_t limit,
                    json_t *pages)
{
    char at[32];
    bool more = true, from_end = !before;
    snprintf(at, sizeof at, "%s", before ? before : "");
    while (more && limit) {
        json_t *root, *messages;
        int err = ask_page(s, conversation, "before", from_end ? NULL : at, limit, &root, &messages, &more);
        if (err)
            return err;
        size_t count = json_array_size(messages);
        if (count)
            snprintf(at, sizeof at, "%s", json_words(json_array_get(messages, 0), "id"));
        from_end = false;
        err = json_array_append(pages, messages) ? -PARLEY_ERR_NOMEM : 0;
        json_decref(root);
        if (err)
            return err;
        limit -= count < limit ? count : limit;
    }
    return 0;
}

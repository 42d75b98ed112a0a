#include "tools/client/text.h"

#include <stdio.h>
#include <string.h>

#include "net/json_writer.h"
#include "src/base/memory.h"

enum { ROOM_BYTES_FIRST = 256, JSON_GROWTH_MAX = 6 };

bool text_reserve(struct text *t, size_t more)
{
    if (t->failed)
        return false;
    if (more <= t->room - t->len)
        return true;
    size_t room = t->room ? t->room : ROOM_BYTES_FIRST;
    while (room - t->len < more && room <= SIZE_MAX / 2)
        room *= 2;
    uint8_t *data = room - t->len < more ? NULL : memory_realloc(t->data, room);
    if (!data) {
        t->failed = true;
        return false;
    }
    t->data = data;
    t->room = room;
    return true;
}

void text_put(struct text *t, const void *data, size_t len)
{
    if (len == 0 || !text_reserve(t, len))
        return;
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

void text_put_span(struct text *t, struct span s)
{
    text_put(t, s.data, s.len);
}

void text_put_words(struct text *t, const char *words)
{
    text_put(t, words, strlen(words));
}

void text_put_number(struct text *t, uint64_t n)
{
    char digits[24] = "";
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    text_put_words(t, digits);
}

void text_put_json(struct text *t, struct span s)
{
    size_t room = s.len * JSON_GROWTH_MAX + 2;
    if (!text_reserve(t, room))
        return;
    struct json_writer w = json_writer_of(t->data + t->len, room);
    json_put_string(&w, s);
    parley_assert(!w.out.failed);
    t->len += json_writer_len(&w);
}

void text_put_escaped(struct text *t, struct span s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("-._~", c));
        char three[3] = {'%', hex[c >> 4], hex[c & 15]};
        text_put(t, plain ? (const void *)&c : three, plain ? 1 : 3);
    }
}

void text_clear(struct text *t)
{
    t->len = 0;
    t->failed = false;
}

void text_free(struct text *t)
{
    memory_free(t->data);
    *t = (struct text){0};
}

const char *text_words(struct text *t)
{
    if (!text_reserve(t, 1))
        return "";
    t->data[t->len] = 0;
    return (const char *)t->data;
}

struct span text_span(const struct text *t)
{
    return (struct span){t->data, t->len};
}

struct span span_of_words(const char *words)
{
    return (struct span){(const uint8_t *)words, strlen(words)};
}

bool span_is(struct span s, const char *words)
{
    return s.len == strlen(words) && (s.len == 0 || memcmp(s.data, words, s.len) == 0);
}

#include "net/token.h"

#include <string.h>

bool token_is_char(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool token_equals(struct span token, const char *word)
{
    if (token.len != strlen(word))
        return false;
    for (size_t i = 0; i < token.len; i++) {
        uint8_t c = token.data[i];
        if (c >= 'A' && c <= 'Z')
            c |= 0x20;
        if (c != (uint8_t)word[i])
            return false;
    }
    return true;
}

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool token_next(struct span *list, struct span *element)
{
    while (list->len) {
        const uint8_t *comma = memchr(list->data, ',', list->len);
        struct span e = {list->data, comma ? (size_t)(comma - list->data) : list->len};
        size_t used = e.len + (comma != NULL);
        *list = (struct span){list->data + used, list->len - used};
        while (e.len && is_blank(e.data[0]))
            e = (struct span){e.data + 1, e.len - 1};
        while (e.len && is_blank(e.data[e.len - 1]))
            e.len--;
        if (e.len) {
            *element = e;
            return true;
        }
    }
    return false;
}

bool token_list_has(struct span list, const char *word)
{
    struct span element;
    while (token_next(&list, &element))
        if (token_equals(element, word))
            return true;
    return false;
}

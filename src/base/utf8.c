#include "src/base/utf8.h"

#include <string.h>

/* The length of the well-formed sequence at `p`, of which `left` bytes are there; 0 when there is none. */
static size_t sequence_len(const uint8_t *p, size_t left)
{
    uint8_t a = p[0];
    size_t len = a < 0x80 ? 1 : a < 0xc2 ? 0 : a < 0xe0 ? 2 : a < 0xf0 ? 3 : a < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    if (len == 1)
        return 1;
    /* The second byte's range says no to overlong forms, surrogates and what is above U+10FFFF. */
    uint8_t low = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
    uint8_t high = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool utf8_valid(struct span text)
{
    size_t at = 0;
    while (at < text.len) {
        uint64_t word;
        if (text.len - at >= sizeof word) {
            memcpy(&word, text.data + at, sizeof word);
            if (!(word & 0x8080808080808080ull)) {
                at += sizeof word;
                continue;
            }
        }
        size_t len = sequence_len(text.data + at, text.len - at);
        if (len == 0)
            return false;
        at += len;
    }
    return true;
}

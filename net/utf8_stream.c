#include "net/utf8_stream.h"

#include <string.h>

static const uint64_t HIGH_BITS = 0x8080808080808080;

static bool is_failed(const struct utf8_stream *s)
{
    return s->low > s->high;
}

/* Only the second byte of a character has a narrower range than 80..BF: it excludes the forms that could be
 * spelled shorter (E0, F0), the surrogates (ED) and what is above U+10FFFF (F4). */
static bool begin(struct utf8_stream *s, uint8_t lead)
{
    s->low = 0x80;
    s->high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) {
        s->left = 1;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        s->left = 2;
        if (lead == 0xe0)
            s->low = 0xa0;
        if (lead == 0xed)
            s->high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        s->left = 3;
        if (lead == 0xf0)
            s->low = 0x90;
        if (lead == 0xf4)
            s->high = 0x8f;
    } else {
        s->low = 1;
        s->high = 0;
        return false;
    }
    return true;
}

bool utf8_stream_feed(struct utf8_stream *s, const uint8_t *data, size_t len)
{
    if (is_failed(s))
        return false;
    for (size_t i = 0; i < len;) {
        if (s->left) {
            if (data[i] < s->low || data[i] > s->high) {
                *s = (struct utf8_stream){.low = 1, .high = 0};
                return false;
            }
            s->left--;
            s->low = 0x80;
            s->high = 0xbf;
            i++;
            continue;
        }
        uint64_t word;
        for (; len - i >= sizeof word; i += sizeof word) { /* most text is ASCII */
            memcpy(&word, data + i, sizeof word);
            if (word & HIGH_BITS)
                break;
        }
        while (i < len && data[i] < 0x80)
            i++;
        if (i < len && !begin(s, data[i++]))
            return false;
    }
    return true;
}

bool utf8_stream_done(const struct utf8_stream *s)
{
    return !is_failed(s) && s->left == 0;
}

bool utf8_stream_valid(const uint8_t *data, size_t len)
{
    struct utf8_stream s = {0};
    return utf8_stream_feed(&s, data, len) && utf8_stream_done(&s);
}

/* net/ws_handshake.h: five lines of the input are method, Upgrade, Connection, Sec-WebSocket-Version and -Key. What is
 * accepted is accepted by a plainer reading of RFC 6455, with the proof that OpenSSL computes. */
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <strings.h>

#include "net/ws_handshake.h"
#include "tests/fuzz/fuzz.h"

enum { LINE_BYTES = 128, KEY_BYTES = 24 };

/* Cut at commas, trimmed, compared in either case. */
static bool list_has(struct span list, const char *word)
{
    char *text = fuzz_words(list);
    bool found = false, whole = strlen(text) == list.len;
    for (char *at = text, *element; (element = strsep(&at, ",")) != NULL;) {
        element += strspn(element, " \t");
        size_t len = strlen(element);
        while (len && strchr(" \t", element[len - 1]))
            len--;
        found = found || (len == strlen(word) && strncasecmp(element, word, len) == 0);
    }
    free(text);
    return found || !whole; /* a text with a zero byte is not judged here */
}

static void check_accept(struct span key, const char *accept)
{
    char text[LINE_BYTES];
    uint8_t digest[SHA_DIGEST_LENGTH], wanted[LINE_BYTES];
    int len = snprintf(text, sizeof text, "%.*s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", (int)key.len, key.data);
    SHA1((uint8_t *)text, (size_t)len, digest);
    EVP_EncodeBlock(wanted, digest, sizeof digest);
    parley_assert(strcmp(accept, (char *)wanted) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    uint8_t flags = bytes_get_u8(&r);
    struct ws_handshake h = {.http_1_1 = !(flags & 1), .repeated = flags & 2};
    char accept[WS_ACCEPT_BYTES + 1];
    h.method = fuzz_until(&r, '\n');
    h.upgrade = fuzz_until(&r, '\n');
    h.connection = fuzz_until(&r, '\n');
    h.version = fuzz_until(&r, '\n');
    h.key = fuzz_until(&r, '\n');
    bool good = ws_handshake_check(&h, accept) == 0;
    bool asked = h.http_1_1 && !h.repeated && fuzz_is(h.method, "GET") && list_has(h.upgrade, "websocket") &&
                 list_has(h.connection, "upgrade");
    parley_assert(!good || (asked && fuzz_is(h.version, "13") && h.key.len == KEY_BYTES));
    parley_assert(!h.version_mismatch || (asked && !good));
    if (good)
        check_accept(h.key, accept);
    return 0;
}

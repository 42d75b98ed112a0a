#include "net/ws_handshake.h"

#include "net/token.h"
#include "src/base/error.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <string.h>

static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
static const char VERSION[] = "13";

enum { KEY_BYTES = 16, KEY_TEXT_BYTES = 24, GUID_BYTES = sizeof GUID - 1 };
_Static_assert(sodium_base64_ENCODED_LEN(SHA_DIGEST_LENGTH, sodium_base64_VARIANT_ORIGINAL) ==
                   WS_ACCEPT_BYTES + 1,
               "the accept value and its zero");

static bool key_valid(struct span key)
{
    uint8_t raw[KEY_BYTES];
    size_t len;
    for (size_t i = 0; i < key.len; i++)
        if (key.data[i] >= 0x80) /* libsodium 1.0.18 takes some of these for letters */
            return false;
    return key.len == KEY_TEXT_BYTES &&
           sodium_base642bin(raw, sizeof raw, (const char *)key.data, key.len, NULL, &len, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           len == KEY_BYTES;
}

int ws_handshake_check(struct ws_handshake *h, char accept[WS_ACCEPT_BYTES + 1])
{
    h->version_mismatch = false;
    if (h->method.len != 3 || memcmp(h->method.data, "GET", 3) != 0)
        return -PARLEY_ERR_METHOD;
    if (!h->http_1_1 || h->repeated || !token_list_has(h->upgrade, "websocket") ||
        !token_list_has(h->connection, "upgrade"))
        return -PARLEY_ERR_BAD_REQUEST;
    if (!token_equals(h->version, VERSION)) {
        h->version_mismatch = true;
        return -PARLEY_ERR_BAD_REQUEST;
    }
    if (!key_valid(h->key))
        return -PARLEY_ERR_BAD_REQUEST;
    uint8_t text[KEY_TEXT_BYTES + GUID_BYTES], digest[SHA_DIGEST_LENGTH];
    memcpy(text, h->key.data, KEY_TEXT_BYTES);
    memcpy(text + KEY_TEXT_BYTES, GUID, GUID_BYTES);
    SHA1(text, sizeof text, digest);
    sodium_bin2base64(accept, WS_ACCEPT_BYTES + 1, digest, sizeof digest, sodium_base64_VARIANT_ORIGINAL);
    return 0;
}

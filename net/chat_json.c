#include "net/chat_json.h"

#include <string.h>

#include "src/base/error.h"

enum { ID_HEX_BYTES = 32 };

void chat_put_id16(struct json_writer *w, const struct id16 *id)
{
    static const char digits[] = "0123456789abcdef";
    char hex[ID_HEX_BYTES];
    for (size_t i = 0; i < sizeof id->bytes; i++) {
        hex[2 * i] = digits[id->bytes[i] >> 4];
        hex[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    json_put_string(w, (struct span){(const uint8_t *)hex, sizeof hex});
}

/* Without a branch for each digit: every message brings 32 of them. */
static const uint8_t digit_plus_one[256] = {
    ['0'] = 1, ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9, ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
};

bool chat_get_id16(struct span hex, struct id16 *id)
{
    bool bad = false;
    if (hex.len != ID_HEX_BYTES)
        return false;
    for (size_t i = 0; i < hex.len; i++) {
        uint8_t v = (uint8_t)(digit_plus_one[hex.data[i]] - 1); /* 255: no digit */
        bad |= v > 15;
        id->bytes[i / 2] = (uint8_t)(i % 2 ? id->bytes[i / 2] | v : v << 4);
    }
    return !bad;
}

struct span chat_words(const char *text)
{
    return (struct span){(const uint8_t *)text, strlen(text)};
}

bool chat_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

static const char *const role_names[] = {
    [ROLE_READ_ONLY] = "read_only", [ROLE_MEMBER] = "member", [ROLE_ADMIN] = "admin", [ROLE_OWNER] = "owner"};

const char *chat_role_name(enum member_role role)
{
    parley_assert(role >= ROLE_READ_ONLY && role <= ROLE_OWNER);
    return role_names[role];
}

bool chat_role_named(struct span name, enum member_role *role)
{
    for (unsigned i = ROLE_READ_ONLY; i <= ROLE_OWNER; i++) {
        if (!chat_is(name, role_names[i]))
            continue;
        *role = (enum member_role)i;
        return true;
    }
    return false;
}

struct fault chat_fault_of_command(const struct command *command, int err)
{
    if (command->kind == COMMAND_SEND && err == -PARLEY_ERR_TOO_LARGE)
        return (struct fault){"body", "no longer than message.body_max: 64 KiB unless configured otherwise"};
    return (struct fault){0};
}

struct span chat_keep(struct bytes_writer *w, struct span s)
{
    struct span kept = {w->at, s.len};
    bytes_put_raw(w, s.data, s.len);
    return kept;
}

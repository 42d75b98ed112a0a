/* The tokens by which a client goes on where he was: ids of 16 bytes in hexadecimal (lists) and ids in decimal (history,
 * resume). One spelling each: what is taken is what would be given. */
#include "net/chat_json.h"
#include "tests/fuzz/fuzz.h"

enum { ROOM = 64 };

/* The token as the server writes it: a JSON string. */
static void check_spelling(struct span token, const struct json_writer *w)
{
    struct span given = {w->out.start, json_writer_len(w)};
    parley_assert(!w->out.failed && given.len == token.len + 2);
    parley_assert(fuzz_same(token, (struct span){given.data + 1, token.len}));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span token = {data, len};
    uint8_t room[ROOM];
    struct json_writer w = json_writer_of(room, sizeof room);
    struct id16 id16;
    uint64_t id;
    if (chat_get_id16(token, &id16)) {
        chat_put_id16(&w, &id16);
        check_spelling(token, &w);
    }
    w = json_writer_of(room, sizeof room);
    if (json_id(token, &id)) {
        json_put_id(&w, id);
        check_spelling(token, &w);
    }
    return 0;
}

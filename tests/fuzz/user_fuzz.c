/* src/machine/user.h: a hostile row is refused or is written again as it was; a profile event upon it gives a row again. */
#include "src/machine/user.h"
#include "src/base/error.h"
#include "tests/fuzz/fuzz.h"

static const struct id16 hash = {{1}};

static struct span encode(const struct user *user, uint8_t room[USER_ROW_BYTES_MAX])
{
    struct bytes_writer w = bytes_writer_of(room, USER_ROW_BYTES_MAX);
    user_encode(user, &w);
    parley_assert(!w.failed);
    return (struct span){room, bytes_writer_len(&w)};
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    size_t row_len = bytes_get_u16(&r), left = (size_t)(r.end - r.at);
    struct span row = bytes_get_raw(&r, row_len < left ? row_len : left);
    struct user *user = NULL, *again = NULL;
    uint8_t room[USER_ROW_BYTES_MAX];
    struct event event;
    int err = user_decode(&hash, row, &user);
    parley_assert(err == 0 || err == -PARLEY_ERR_CORRUPT);
    if (err)
        return 0;
    parley_assert(fuzz_same(encode(user, room), row));
    for (unsigned i = 0; i < user->applied.command_count; i++)
        parley_assert(user_find(user, &user->applied.commands[i].fingerprint));
    if (event_decode(&r, &event) == 0 && event.kind == EVENT_PROFILE && user->position < UINT64_MAX) {
        user_apply(user, &event, user->position + 1);
        parley_assert(fuzz_same(user_name(user), event.display_name) &&
                      user_find(user, &event.fingerprint)->id == event.id);
        err = user_decode(&hash, encode(user, room), &again);
        parley_assert(err == 0);
        user_destroy(&again);
    }
    user_destroy(&user);
    return 0;
}

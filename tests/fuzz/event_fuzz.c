/* src/machine/event.h: what decodes is encoded as the same bytes, and the length that was promised for it is enough. */
#include "src/machine/event.h"
#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tests/fuzz/fuzz.h"

static struct span encode(const struct event *e, uint8_t **room)
{
    size_t len = event_len_max(e);
    *room = malloc(len);
    parley_assert(*room);
    struct bytes_writer w = bytes_writer_of(*room, len);
    event_encode(&w, e);
    parley_assert(!w.failed);
    return (struct span){*room, bytes_writer_len(&w)};
}

static void check(const struct event *e, struct span encoded)
{
    uint8_t *room, *room_again;
    struct span written = encode(e, &room);
    struct bytes_reader r = bytes_reader_of(written.data, written.len);
    struct event again;
    int err = event_decode(&r, &again);
    parley_assert(err == 0 && bytes_reader_done(&r));
    parley_assert(fuzz_same(written, encode(&again, &room_again)));
    /* One of an older version is written as one of ours. */
    parley_assert(written.data[1] != encoded.data[1] || fuzz_same(written, encoded));
    parley_assert(utf8_valid(e->actor) && utf8_valid(e->client_id) && utf8_valid(e->title) &&
                  utf8_valid(e->target));
    parley_assert(!event_body_is_text(e->content_type) || utf8_valid(e->body));
    free(room);
    free(room_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    struct event e;
    for (const uint8_t *from = r.at; from != r.end; from = r.at) {
        int err = event_decode(&r, &e);
        if (err) {
            parley_assert(err == -PARLEY_ERR_CORRUPT);
            break;
        }
        check(&e, (struct span){from, (size_t)(r.at - from)});
    }
    return 0;
}

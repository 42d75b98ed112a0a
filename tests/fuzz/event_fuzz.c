/* src/machine/event.h: what decodes is encoded as the same bytes, and the length that was promised for it is enough. */
#include "src/machine/event.h"
#include "src/base/error.h"
#include "src/base/utf8.h"
#include "tests/fuzz/fuzz.h"

static void check(const struct event *e, struct span encoded)
{
    size_t room = event_len_max(e);
    uint8_t *again = malloc(room);
    parley_assert(again);
    struct bytes_writer w = bytes_writer_of(again, room);
    event_encode(&w, e);
    parley_assert(!w.failed && fuzz_same(encoded, (struct span){again, bytes_writer_len(&w)}));
    parley_assert(utf8_valid(e->actor) && utf8_valid(e->client_id) && utf8_valid(e->title) &&
                  utf8_valid(e->target));
    parley_assert(!event_body_is_text(e->content_type) || utf8_valid(e->body));
    free(again);
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

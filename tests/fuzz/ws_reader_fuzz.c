/* tools/client/ws_reader.h: a server's frames as our client reads them mean what they mean to wslay's client. */
#include "net/utf8_stream.h"
#include "tests/fuzz/ws_trace.h"
#include "tools/client/ws_reader.h"

static struct ws_trace mine, other;

static size_t run(struct span stream, struct ws_trace *t, bool *failed)
{
    struct ws_reader reader = {.message_bytes_max = WS_FUZZ_MESSAGE_MAX};
    struct ws_message m = {0};
    struct ws_event e = {.kind = WS_EVENT_DATA};
    uint8_t *copy = fuzz_copy(stream);
    size_t at = 0;
    t->len = 0;
    t->text[0] = 0;
    *failed = false;
    while (e.kind != WS_EVENT_NONE && e.kind != WS_EVENT_CLOSE && !*failed) {
        size_t used = ws_reader_feed(&reader, copy + at, stream.len - at, &e);
        parley_assert(used <= stream.len - at);
        parley_assert(e.kind != WS_EVENT_NONE || used == 0);
        at += used;
        ws_trace_event(t, &m, &e);
        *failed = e.kind == WS_EVENT_FAIL;
    }
    ws_message_reset(&m);
    free(copy);
    return stream.len - at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct span stream = {data, len};
    bool failed;
    if (len > WS_STREAM_BYTES_MAX)
        return 0;
    size_t left = run(stream, &mine, &failed);
    ws_oracle_run(false, stream, &other);
    /* What we take, wslay takes: its trace begins with ours. It looks into the unfinished, and checks joined texts, which
     * the reader leaves to who joins them. */
    bool text_failed = strstr(other.text, "fail 1007") != NULL;
    (void)left;
    if (!failed && !text_failed && !strstr(mine.text, "close 101"))
        ws_trace_agree(&mine, &other, mine.len);
    return 0;
}

/* net/ws_frame.h: a stream of a client's frames means what it means to wslay, however it is cut. The first two bytes of the
 * input choose the cuts. */
#include "tests/fuzz/ws_trace.h"

static struct ws_trace mine, other;
/* The frame that run() ended with had no mask, or perhaps no byte behind its head: wslay does not judge these. */
static bool wslay_is_milder;

static uint32_t next_cut(uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return *seed >> 24;
}

/* Feeds what lies at `at`, until the parser wants more. Returns the bytes taken; *open turns false at a failure. */
static size_t feed(struct ws_parser *p, struct ws_message *m, struct span here, struct ws_trace *t,
                   bool *open)
{
    uint8_t *copy = fuzz_copy(here);
    size_t done = 0;
    struct ws_event e = {.kind = WS_EVENT_DATA};
    while (e.kind != WS_EVENT_NONE && *open) {
        size_t left = here.len - done;
        wslay_is_milder = left <= WS_HEAD_BYTES_MAX || !(copy[done + 1] & 0x80);
        size_t used = ws_parser_feed(p, copy + done, left, &e);
        parley_assert(used <= left);
        if (e.kind == WS_EVENT_NONE && !p->finished)
            parley_assert(e.need_bytes > left && e.need_bytes <= WS_FUZZ_MESSAGE_MAX + WS_HEAD_BYTES_MAX);
        done += used;
        ws_trace_event(t, m, &e);
        *open = e.kind != WS_EVENT_FAIL;
    }
    free(copy);
    return done;
}

/* Each time up to `step` bytes more (0: all). Returns the bytes that are left over. */
static size_t run(struct span stream, uint32_t seed, uint32_t step, struct ws_trace *t)
{
    struct ws_parser p = ws_parser_of(WS_FUZZ_MESSAGE_MAX);
    struct ws_message m = {0};
    size_t at = 0, end = 0;
    bool open = true;
    t->len = 0;
    t->text[0] = 0;
    while (end < stream.len && open) {
        size_t more = step ? 1 + next_cut(&seed) % step : stream.len;
        end = more < stream.len - end ? end + more : stream.len;
        at += feed(&p, &m, (struct span){stream.data + at, end - at}, t, &open);
    }
    ws_message_reset(&m);
    return open ? stream.len - at : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct bytes_reader r = bytes_reader_of(data, len);
    uint32_t seed = bytes_get_u8(&r), step = 1 + bytes_get_u8(&r);
    struct span stream = fuzz_rest(&r);
    if (stream.len > WS_STREAM_BYTES_MAX)
        return 0;
    size_t left = run(stream, seed, step, &other);
    parley_assert(run(stream, 0, 0, &mine) == left);
    ws_trace_agree(&mine, &other, WS_TRACE_BYTES);
    /* wslay looks into unfinished frames and does not know the codes 1012 to 1014. */
    if (left || strstr(mine.text, "close 101"))
        return 0;
    ws_oracle_run(true, stream, &other);
    bool milder = wslay_is_milder && strstr(mine.text, "fail");
    ws_trace_agree(&mine, &other, milder ? mine.len - strlen("fail 1002 \n") : WS_TRACE_BYTES);
    return 0;
}

#include "tools/commands/import_send.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/clock.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/rfc3339.h"
#include "tools/client/backoff.h"
#include "tools/client/ws_client.h"
#include "tools/commands/import_line.h"
#include "tools/commands/import_queue.h"
#include "tools/commands/line_reader.h"

enum {
    TURN_MS = 200,
    SILENCE_MS = 30000,
    LINES_A_TURN = 1024,
    STATE_EVERY_MS = 2000,
    TOLD_MAX = 20,
    WINDOW_MIN = 8
};

static const char ID_FORM[] = "import-%016" PRIx64 "-%" PRIu64;

struct by_key {
    uint64_t key;
    uint32_t lane;
};

struct sender {
    struct session *session;
    const struct import_plan *plan;
    const struct plan_source *source;
    const struct import_options *options;
    struct import_state *state;
    struct progress *progress;
    struct import_counts *counts;
    struct line_reader *lines;
    struct json_reader *line_json, *answer_json;
    struct import_queue queue;
    uint64_t *ordinals;    /* of the last line of each conversation */
    struct by_key *by_key; /* sorted */
    bool at_end;
    uint64_t skip_lines, read_lines;
    struct ws_client ws;
    struct backoff backoff;
    struct text frame;
    uint64_t window, heard_ms, pause_until_ms, saved_ms;
};

static uint64_t now_ms(void)
{
    return clock_monotonic_ms(clock_real());
}

/* -- reading */

static int take_line(struct sender *s, struct span text)
{
    struct import_line line;
    const char *why;
    int err = import_line_read(s->line_json, text, &line, &why);
    if (err && err != -PARLEY_ERR_END)
        return 0; /* told in the first pass */
    uint32_t lane = names_find(&s->plan->conversations, line.conversation);
    if (lane == UINT32_MAX)
        return err ? 0 : -PARLEY_ERR_CORRUPT; /* only empty lines in it; or the file is another one now */
    uint64_t ordinal = ++s->ordinals[lane];
    if (err)
        return 0;
    if (s->read_lines <= s->skip_lines) {
        s->counts->skipped++;
        return 0;
    }
    struct import_item item = {.line = s->read_lines,
                               .ordinal = ordinal,
                               .time_ms = line.time_ms,
                               .sender = line.sender,
                               .text = line.text};
    return import_queue_push(&s->queue, lane, &item);
}

static int read_ahead(struct sender *s)
{
    for (uint32_t n = 0; n < LINES_A_TURN && !s->at_end && s->queue.bytes < s->options->ahead_bytes_max;
         n++) {
        struct span text;
        int err = line_reader_next(s->lines, &text);
        if (err == -PARLEY_ERR_END) {
            s->at_end = true;
            return 0;
        }
        s->read_lines = line_reader_number(s->lines);
        if (!err)
            err = take_line(s, text);
        if (err && err != -PARLEY_ERR_TOO_LARGE) {
            progress_clear(s->progress);
            fprintf(stderr, "parley: %s after line %llu: %s\n", s->source->name,
                    (unsigned long long)s->read_lines,
                    err == -PARLEY_ERR_CORRUPT ? "the file has changed or is damaged"
                                               : import_plan_reason(err));
            return err;
        }
    }
    return 0;
}

/* -- sending */

static void put_item(struct text *t, const struct plan_conversation *c, const struct import_item *item)
{
    char id[64], time[RFC3339_BYTES];
    snprintf(id, sizeof id, ID_FORM, c->key, item->ordinal);
    text_clear(t);
    text_put_words(t, "{\"type\":\"send\",\"conversation\":\"");
    text_put_words(t, c->id);
    text_put_words(t, "\",\"client_msg_id\":\"");
    text_put_words(t, id);
    text_put_words(t, "\",\"content_type\":\"text/plain\",\"as\":");
    text_put_json(t, item->sender);
    if (item->time_ms) {
        rfc3339_format(item->time_ms, time);
        text_put_words(t, ",\"created_at\":\"");
        text_put(t, time, sizeof time);
        text_put_words(t, "\"");
    }
    text_put_words(t, ",\"body\":");
    text_put_json(t, item->text);
    text_put_words(t, "}");
}

static int send_ready(struct sender *s)
{
    if (now_ms() < s->pause_until_ms)
        return 0;
    while (s->queue.under_way < s->window) {
        if (s->queue.under_way == 0)
            s->heard_ms = now_ms(); /* silence counts from the first question */
        const struct import_item *item = import_queue_next(&s->queue);
        if (!item)
            return 0;
        put_item(&s->frame, &s->plan->list[item->lane], item);
        int err = s->frame.failed ? -PARLEY_ERR_NOMEM : ws_client_send(&s->ws, text_span(&s->frame));
        if (err)
            return err;
    }
    return 0;
}

/* -- answers */

static int compare_keys(const void *a, const void *b)
{
    uint64_t x = ((const struct by_key *)a)->key, y = ((const struct by_key *)b)->key;
    return x < y ? -1 : x > y;
}

static struct import_item *item_of(struct sender *s, struct span client_id)
{
    char id[65], again[65];
    struct by_key wanted;
    uint64_t ordinal;
    if (client_id.len >= sizeof id)
        return NULL;
    memcpy(id, client_id.data, client_id.len);
    id[client_id.len] = 0;
    if (sscanf(id, "import-%16" SCNx64 "-%" SCNu64, &wanted.key, &ordinal) != 2)
        return NULL;
    snprintf(again, sizeof again, ID_FORM, wanted.key, ordinal);
    const struct by_key *found =
        bsearch(&wanted, s->by_key, s->queue.lane_count, sizeof wanted, compare_keys);
    return found && strcmp(id, again) == 0 ? import_queue_find(&s->queue, found->lane, ordinal) : NULL;
}

/* A refusal that is final: for this line, or for all. */
static int on_final_refusal(struct sender *s, struct import_item *item, const struct refusal *refusal)
{
    bool may_not = refusal_is(refusal, "forbidden"), full = refusal_is(refusal, "disk_full");
    progress_clear(s->progress);
    if (++s->counts->refused <= TOLD_MAX || may_not || full)
        fprintf(stderr, "%s:%llu: the server refused: %s: %s\n", s->source->name,
                (unsigned long long)item->line, refusal->code, refusal->text);
    else if (s->counts->refused == TOLD_MAX + 1)
        fprintf(stderr, "%s: more refusals follow\n", s->source->name);
    if (may_not)
        fprintf(stderr, "parley: importing needs a token with --scope service, and senders who may write\n");
    if (may_not || full)
        return full ? -PARLEY_ERR_DISK_FULL : -PARLEY_ERR_FORBIDDEN;
    import_queue_done(&s->queue, item);
    return s->source->strict ? -PARLEY_ERR_CONFLICT : 0;
}

static int on_refusal(struct sender *s, struct import_item *item, struct span frame)
{
    struct refusal refusal;
    uint64_t wait;
    refusal_read(&refusal, 0, frame);
    if (refusal_is(&refusal, "token_expired"))
        return -PARLEY_ERR_END; /* the server closes; the next connection needs another token */
    if (!item) {
        progress_clear(s->progress);
        session_tell_refusal(&refusal);
        return -PARLEY_ERR_FORBIDDEN;
    }
    if (!refusal_passes(&refusal))
        return on_final_refusal(s, item, &refusal);
    import_queue_refused(&s->queue, item);
    s->counts->retried++;
    if (now_ms() < s->pause_until_ms)
        return 0; /* of the same moment as another one */
    s->window = s->window / 2 > WINDOW_MIN ? s->window / 2 : WINDOW_MIN;
    if (backoff_next(&s->backoff, now_ms(), refusal.retry_after_ms, &wait) != 0)
        return -PARLEY_ERR_FULL;
    s->pause_until_ms = now_ms() + wait;
    return 0;
}

static int on_ack(struct sender *s, struct import_item *item, bool duplicate)
{
    if (!item)
        return -PARLEY_ERR_BAD_REQUEST;
    import_queue_done(&s->queue, item);
    s->counts->sent++;
    s->counts->duplicates += duplicate;
    backoff_reset(&s->backoff);
    if (s->window < s->options->window)
        s->window++;
    return 0;
}

static int on_frame(struct sender *s, struct span frame)
{
    struct json_field f[] = {{.name = "type", .kind = JSON_FIELD_STRING, .required = true},
                             {.name = "client_msg_id", .kind = JSON_FIELD_STRING},
                             {.name = "duplicate", .kind = JSON_FIELD_BOOL}};
    int err = json_read(s->answer_json, frame.data, frame.len, f, PARLEY_ARRAY_COUNT(f));
    if (err)
        return -PARLEY_ERR_BAD_REQUEST;
    bool ack = span_is(f[0].value.string, "ack"), error = span_is(f[0].value.string, "error");
    if (!ack && !error)
        return 0; /* live events of the service's own user */
    struct import_item *item = f[1].present ? item_of(s, f[1].value.string) : NULL;
    return ack ? on_ack(s, item, f[2].present && f[2].value.boolean) : on_refusal(s, item, frame);
}

/* -- the connection */

static int give_up(struct sender *s, int err)
{
    progress_clear(s->progress);
    session_tell_unreachable(s->session, err);
    fprintf(stderr, "parley: tried again for %llu s; run the same import again: what is there stays once\n",
            (unsigned long long)s->session->retry_for_s);
    return -PARLEY_ERR_IO;
}

static int connect_again(struct sender *s)
{
    bool renewed = false; /* a server that finds each new token expired has another clock */
    for (bool told = false; !session_stopped(); told = true) {
        struct refusal refusal = {0};
        uint64_t wait;
        int err = ws_client_open(&s->ws, &s->session->url, "/v1/ws", s->session->token);
        if (!err)
            return 0;
        if (err == -PARLEY_ERR_FORBIDDEN)
            refusal_read(&refusal, s->ws.status, text_span(&s->ws.refusal));
        progress_clear(s->progress);
        bool expired = err == -PARLEY_ERR_FORBIDDEN && refusal_is(&refusal, "token_expired");
        if (expired && !renewed && session_renew_token(s->session) == 0) {
            renewed = true;
            continue;
        }
        if (err == -PARLEY_ERR_FORBIDDEN && !refusal_passes(&refusal)) {
            if (!expired || renewed)
                session_tell_refusal(&refusal);
            return err;
        }
        if (err != -PARLEY_ERR_IO && err != -PARLEY_ERR_FORBIDDEN) {
            session_tell_unreachable(s->session, err);
            return err;
        }
        if (!told && !s->progress->quiet)
            fprintf(stderr, "parley: no connection; trying again for %llu s\n",
                    (unsigned long long)s->session->retry_for_s);
        if (backoff_next(&s->backoff, now_ms(), refusal.retry_after_ms, &wait) != 0)
            return give_up(s, -PARLEY_ERR_IO);
        session_sleep_ms(wait);
    }
    return 0;
}

static int lost(struct sender *s)
{
    uint64_t wait;
    s->counts->reconnects++;
    ws_client_close(&s->ws);
    import_queue_lost(&s->queue);
    s->pause_until_ms = 0;
    if (backoff_next(&s->backoff, now_ms(), 0, &wait) != 0)
        return give_up(s, -PARLEY_ERR_IO);
    session_sleep_ms(wait);
    return connect_again(s);
}

static int take_answers(struct sender *s)
{
    for (;;) {
        struct span frame;
        int err = ws_client_next(&s->ws, &frame);
        if (err == -PARLEY_ERR_AGAIN)
            return 0;
        if (!err)
            err = on_frame(s, frame);
        if (err)
            return err;
        s->heard_ms = now_ms();
    }
}

static uint64_t time_to_wait(const struct sender *s)
{
    uint64_t now = now_ms();
    if (!s->at_end && s->queue.bytes < s->options->ahead_bytes_max)
        return 0;
    if (s->pause_until_ms > now)
        return s->pause_until_ms - now < TURN_MS ? s->pause_until_ms - now : TURN_MS;
    return TURN_MS;
}

static int turn(struct sender *s)
{
    int err = read_ahead(s);
    if (err)
        return err;
    err = send_ready(s);
    if (!err && s->queue.count) {
        err = stream_turn(&s->ws.stream, time_to_wait(s));
        int answers = take_answers(s); /* what came before the end counts */
        err = answers ? answers : err == -PARLEY_ERR_AGAIN ? 0 : err;
    }
    if (!err && s->queue.under_way && now_ms() - s->heard_ms > SILENCE_MS)
        err = -PARLEY_ERR_IO;
    if (err == -PARLEY_ERR_IO || err == -PARLEY_ERR_END)
        return lost(s);
    if (err == -PARLEY_ERR_FULL)
        return give_up(s, err);
    if (err == -PARLEY_ERR_BAD_REQUEST || err == -PARLEY_ERR_NOMEM)
        session_tell_unreachable(s->session, err);
    return err;
}

static void save(struct sender *s, bool now)
{
    if (!s->options->state_path || (!now && now_ms() - s->saved_ms < STATE_EVERY_MS))
        return;
    s->saved_ms = now_ms();
    uint64_t mark = import_queue_mark(&s->queue, s->read_lines);
    s->state->lines = mark > s->skip_lines ? mark : s->skip_lines;
    if (import_state_save(s->options->state_path, s->state) != 0) {
        progress_clear(s->progress);
        fprintf(stderr, "parley: cannot write %s; going on without\n", s->options->state_path);
    }
}

static int begin(struct sender *s)
{
    uint32_t count = s->plan->conversations.count;
    s->line_json = json_reader_create(LINE_BYTES_MAX);
    s->answer_json = json_reader_create(WS_CLIENT_MESSAGE_BYTES_MAX);
    s->ordinals = memory_zalloc((count + 1ull) * sizeof *s->ordinals);
    s->by_key = memory_zalloc((count + 1ull) * sizeof *s->by_key);
    if (!s->line_json || !s->answer_json || !s->ordinals || !s->by_key)
        return -PARLEY_ERR_NOMEM;
    for (uint32_t i = 0; i < count; i++)
        s->by_key[i] = (struct by_key){s->plan->list[i].key, i};
    qsort(s->by_key, count, sizeof *s->by_key, compare_keys);
    for (uint32_t i = 1; i < count; i++)
        if (s->by_key[i].key == s->by_key[i - 1].key) {
            fprintf(stderr, "parley: two conversations have names of the same hash: rename one\n");
            return -PARLEY_ERR_CONFLICT;
        }
    snprintf(s->state->conversation, sizeof s->state->conversation, "%s", count ? s->plan->list[0].id : "");
    if (s->options->state_path)
        s->skip_lines = import_state_load(s->options->state_path, s->state);
    int err = import_queue_init(&s->queue, count, (uint32_t)s->options->each_max);
    if (!err)
        err = line_reader_open(s->source->fd, &s->lines);
    if (err)
        fprintf(stderr, "parley: %s: %s\n", s->source->name, import_plan_reason(err));
    return err;
}

int import_send(struct session *session, const struct import_plan *plan, const struct plan_source *source,
                const struct import_options *options, struct import_state *state, struct progress *progress,
                struct import_counts *counts)
{
    struct sender s = {.session = session,
                       .plan = plan,
                       .source = source,
                       .options = options,
                       .state = state,
                       .progress = progress,
                       .counts = counts,
                       .window = options->window,
                       .backoff = {.limit_ms = session->retry_for_s * 1000}};
    int err = begin(&s);
    if (!err)
        err = connect_again(&s);
    while (!err && !session_stopped() && !(s.at_end && s.queue.count == 0)) {
        err = turn(&s);
        uint64_t done = counts->sent + counts->refused + counts->skipped;
        progress_show(progress, counts->sent, done, plan->good);
        save(&s, false);
    }
    if (s.lines)
        save(&s, true);
    counts->out_of_order = s.queue.out_of_order;
    ws_client_close(&s.ws);
    import_queue_clear(&s.queue);
    line_reader_close(&s.lines);
    json_reader_destroy(&s.line_json);
    json_reader_destroy(&s.answer_json);
    memory_free(s.ordinals);
    memory_free(s.by_key);
    text_free(&s.frame);
    return err;
}

#include "src/base/logger.h"
#include "src/base/error.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    LINES_PER_SECOND_DEFAULT = 1000,
    NUMBER_BYTES = 24, /* the longest: 20 digits, a sign, an end */
    TAIL_BYTES = 64    /* kept free for truncated= and dropped= and the line's end */
};

_Static_assert(LOGGER_LINE_BYTES_MAX > 4 * TAIL_BYTES, "a line has room for more than its tail");
_Static_assert(LOGGER_LINE_BYTES_MAX <= 4096, "a pipe takes up to PIPE_BUF bytes whole");

/* Lines of one level within one second of the monotonic clock. */
struct level_rate {
    _Atomic uint64_t second, lines, dropped_unsaid;
};

struct line {
    char text[LOGGER_LINE_BYTES_MAX];
    size_t len;
    size_t len_max; /* rises by TAIL_BYTES once the fields are in */
    bool truncated;
};

static struct logger_options settings = {
    .fd = STDERR_FILENO, .level = LOGGER_INFO, .lines_per_second_max = LINES_PER_SECOND_DEFAULT};
static struct level_rate rates[LOGGER_LEVEL_COUNT];
static _Atomic uint64_t dropped;

static const struct clock_source *clock_in_use(void)
{
    return settings.clock ? settings.clock : clock_real();
}

void logger_configure(const struct logger_options *options)
{
    parley_assert(options->level < LOGGER_LEVEL_COUNT);
    settings = *options;
}

bool logger_enabled(enum logger_level level)
{
    return level >= settings.level;
}

const char *logger_level_text(enum logger_level level)
{
    static const char *const texts[] = {
#define X(name, text) text,
        LOGGER_LEVELS(X)
#undef X
    };
    parley_assert(level < LOGGER_LEVEL_COUNT);
    return texts[level];
}

uint64_t logger_dropped(void)
{
    return atomic_load_explicit(&dropped, memory_order_relaxed);
}

struct logger_field logger_bytes(const char *key, struct span bytes)
{
    return (struct logger_field){.key = key, .kind = LOGGER_FIELD_TEXT, .value = {.text = bytes}};
}

struct logger_field logger_text(const char *key, const char *text)
{
    return logger_bytes(key, (struct span){(const uint8_t *)text, text ? strlen(text) : 0});
}

struct logger_field logger_u64(const char *key, uint64_t value)
{
    return (struct logger_field){.key = key, .kind = LOGGER_FIELD_U64, .value = {.u64 = value}};
}

struct logger_field logger_i64(const char *key, int64_t value)
{
    return (struct logger_field){.key = key, .kind = LOGGER_FIELD_I64, .value = {.i64 = value}};
}

struct logger_field logger_err(int err)
{
    return logger_text("error", parley_err_code(err));
}

/* All or nothing, so that a cut never leaves half an escape. */
static void put(struct line *line, const char *text, size_t len)
{
    if (line->truncated || len > line->len_max - line->len) {
        line->truncated = true;
        return;
    }
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

static void put_text(struct line *line, const char *text)
{
    put(line, text, strlen(text));
}

static bool plain(uint8_t byte)
{
    return byte > ' ' && byte < 0x7f && byte != '"' && byte != '\\' && byte != '=';
}

/* Bytes from 0x80 pass: UTF-8 stays readable, and no terminal obeys them. Control bytes do not pass. */
static void put_escaped(struct line *line, uint8_t byte)
{
    char escape[5];
    if (byte == '"' || byte == '\\') {
        put(line, (char[]){'\\', (char)byte}, 2);
    } else if (byte == '\n') {
        put(line, "\\n", 2);
    } else if (byte < ' ' || byte == 0x7f) {
        snprintf(escape, sizeof escape, "\\x%02x", byte);
        put(line, escape, 4);
    } else {
        put(line, (const char *)&byte, 1);
    }
}

static void put_value(struct line *line, struct span value)
{
    bool quoted = value.len == 0;
    for (size_t i = 0; i < value.len && !quoted; i++)
        quoted = !plain(value.data[i]);
    if (!quoted) {
        for (size_t i = 0; i < value.len; i++)
            put(line, (const char *)value.data + i, 1);
        return;
    }
    put(line, "\"", 1);
    line->len_max--; /* the closing quote's place */
    for (size_t i = 0; i < value.len; i++)
        put_escaped(line, value.data[i]);
    line->len_max++;
    bool cut = line->truncated;
    line->truncated = false;
    put(line, "\"", 1);
    line->truncated = line->truncated || cut;
}

static void put_field(struct line *line, const struct logger_field *field)
{
    char number[NUMBER_BYTES] = {0};
    size_t before = line->len;
    put(line, " ", 1);
    put_text(line, field->key);
    put(line, "=", 1);
    if (line->truncated) { /* no key without a value */
        line->len = before;
        return;
    }
    switch (field->kind) {
    case LOGGER_FIELD_TEXT:
        put_value(line, field->value.text);
        return;
    case LOGGER_FIELD_U64:
        snprintf(number, sizeof number, "%llu", (unsigned long long)field->value.u64);
        break;
    case LOGGER_FIELD_I64:
        snprintf(number, sizeof number, "%lld", (long long)field->value.i64);
        break;
    }
    put_text(line, number);
    if (line->truncated)
        line->len = before; /* half a number is another number */
}

static void put_head(struct line *line, enum logger_level level, const char *event)
{
    uint64_t wall_ms = clock_wall_ms(clock_in_use());
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc = {0};
    char text[64];
    gmtime_r(&seconds, &utc);
    size_t len = strftime(text, sizeof text, "time=%Y-%m-%dT%H:%M:%S", &utc);
    put(line, text, len);
    snprintf(text, sizeof text, ".%03uZ level=%s", (unsigned)(wall_ms % 1000), logger_level_text(level));
    put_text(line, text);
    struct logger_field field = logger_text("event", event);
    put_field(line, &field);
}

/* Two threads may both see a new second and each let a few lines more through: a limit, not an account. */
static bool within_rate(enum logger_level level)
{
    struct level_rate *rate = &rates[level];
    uint64_t second = clock_monotonic_ms(clock_in_use()) / 1000;
    if (atomic_load(&rate->second) != second) {
        atomic_store(&rate->second, second);
        atomic_store(&rate->lines, 0);
    }
    return atomic_fetch_add(&rate->lines, 1) < settings.lines_per_second_max;
}

static void drop(enum logger_level level, uint64_t count)
{
    atomic_fetch_add(&rates[level].dropped_unsaid, count);
}

/* A pipe that nobody empties would block the reactor; a line is worth less. */
static bool write_line(const struct line *line)
{
    struct pollfd p = {.fd = settings.fd, .events = POLLOUT};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT) &&
           write(settings.fd, line->text, line->len) == (ssize_t)line->len;
}

void logger_log(enum logger_level level, const char *event, const struct logger_field *fields, size_t count)
{
    if (!logger_enabled(level))
        return;
    if (!within_rate(level)) {
        drop(level, 1);
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
        return;
    }
    struct line line;
    line.len = 0;
    line.len_max = sizeof line.text - TAIL_BYTES;
    line.truncated = false;
    put_head(&line, level, event);
    for (size_t i = 0; i < count && !line.truncated; i++)
        put_field(&line, &fields[i]);
    line.len_max = sizeof line.text;
    if (line.truncated) {
        line.truncated = false;
        put_text(&line, " truncated=true");
    }
    uint64_t unsaid = atomic_exchange(&rates[level].dropped_unsaid, 0);
    if (unsaid) {
        struct logger_field field = logger_u64("dropped", unsaid);
        put_field(&line, &field);
    }
    put(&line, "\n", 1);
    if (!write_line(&line)) {
        drop(level, unsaid + 1);
        atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
    }
}

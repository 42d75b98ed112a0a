/* src/base/logger.h: structured log lines in logfmt on standard error.
 *
 * Why:    one line an event, that grep and machines read alike: nobody parses prose. A storm of the same
 *         trouble must not become a storm of writes.
 * Shape:  logger_log(level, event, fields) -> escape -> one write(2)
 *         time=2026-11-24T06:44:49.123Z level=warn event=accept_rests reactor=3 path="/a b"
 * Thread: any; configure before the first other thread. A line is written whole.
 * Errors: none to the caller. A line over LOGGER_LINE_BYTES_MAX is cut and says truncated=true; lines over the
 *         rate, and lines that the reader of the pipe has no room for, are dropped and counted: the next line
 *         of that level says dropped=N. A reactor never waits for a log.
 */
#ifndef PARLEY_BASE_LOGGER_H
#define PARLEY_BASE_LOGGER_H

#include "src/base/base.h"
#include "src/base/clock.h"

enum { LOGGER_LINE_BYTES_MAX = 2048 };

/* X(name, text) */
#define LOGGER_LEVELS(X)                                                                                     \
    X(DEBUG, "debug")                                                                                        \
    X(INFO, "info")                                                                                          \
    X(WARN, "warn")                                                                                          \
    X(ERROR, "error")

enum logger_level {
#define X(name, text) LOGGER_##name,
    LOGGER_LEVELS(X)
#undef X
        LOGGER_LEVEL_COUNT
};

struct logger_options {
    int fd;                        /* borrowed; standard error unless configured */
    enum logger_level level;       /* lines below it are not written */
    uint32_t lines_per_second_max; /* of each level */
    const struct clock_source *clock;
};

enum logger_field_kind { LOGGER_FIELD_TEXT, LOGGER_FIELD_U64, LOGGER_FIELD_I64 };

struct logger_field {
    const char *key; /* letters, digits, '_' */
    enum logger_field_kind kind;
    union {
        struct span text; /* any bytes: what is not plain is escaped */
        uint64_t u64;
        int64_t i64;
    } value;
};

struct logger_field logger_text(const char *key, const char *text); /* NULL reads as "" */
struct logger_field logger_bytes(const char *key, struct span bytes);
struct logger_field logger_u64(const char *key, uint64_t value);
struct logger_field logger_i64(const char *key, int64_t value);
/* An error by its name from the table. */
struct logger_field logger_err(int err);

/* logger_line(LOGGER_WARN, "accept_rests", logger_u64("reactor", 3)); at least one field */
#define logger_line(level, event, ...)                                                                       \
    logger_log((level), (event), (const struct logger_field[]){__VA_ARGS__},                                 \
               PARLEY_ARRAY_COUNT(((const struct logger_field[]){__VA_ARGS__})))

void logger_configure(const struct logger_options *options);
bool logger_enabled(enum logger_level level);
void logger_log(enum logger_level level, const char *event, const struct logger_field *fields, size_t count);
const char *logger_level_text(enum logger_level level);
/* Lines dropped so far, of all levels. */
uint64_t logger_dropped(void);

#endif

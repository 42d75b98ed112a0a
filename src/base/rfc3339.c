#include "src/base/rfc3339.h"

#include "src/base/error.h"

enum {
    SECOND_MS = 1000,
    MINUTE_S = 60,
    HOUR_S = 60 * MINUTE_S,
    DAY_S = 24 * HOUR_S,
    ERA_DAYS = 146097,     /* the calendar repeats after 400 years */
    EPOCH_OFFSET = 719468, /* days from 0000-03-01, when eras begin, to 1970-01-01 */
    YEAR_MIN = 1970,
};
_Static_assert(RFC3339_MS_MAX < INT64_MAX, "sums with offsets stay in range");

/* Years begin in March here, so that the leap day is the last of its year. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    if (month <= 2)
        year--;
    int64_t era = year / 400, year_of_era = year % 400;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    int64_t day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return era * ERA_DAYS + day_of_era - EPOCH_OFFSET;
}

/* In 32 bits: a page of history has a date in each message, and divisions of 64 bits were a twentieth of its cost. */
static void date_from_days(uint32_t days, uint32_t *year, uint32_t *month, uint32_t *day)
{
    days += EPOCH_OFFSET;
    uint32_t era = days / ERA_DAYS, day_of_era = days % ERA_DAYS;
    uint32_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / (ERA_DAYS - 1)) / 365;
    uint32_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint32_t march_month = (5 * day_of_year + 2) / 153;
    *day = day_of_year - (153 * march_month + 2) / 5 + 1;
    *month = march_month < 10 ? march_month + 3 : march_month - 9;
    *year = year_of_era + era * 400 + (*month <= 2);
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Reads a text from left to right; what does not fit sets `bad` and yields values in range. */
struct scan {
    const char *at, *end;
    bool bad;
};

static bool peek(const struct scan *s, char c)
{
    return s->at < s->end && *s->at == c;
}

static void skip(struct scan *s, char c)
{
    s->bad |= !peek(s, c);
    s->at += !s->bad;
}

static bool is_digit(const struct scan *s)
{
    return s->at < s->end && *s->at >= '0' && *s->at <= '9';
}

static int64_t number(struct scan *s, unsigned digits, int64_t min, int64_t max)
{
    int64_t v = 0;
    for (; digits; digits--) {
        if (s->bad || !is_digit(s)) {
            s->bad = true;
            return min;
        }
        v = v * 10 + (*s->at++ - '0');
    }
    s->bad |= v < min || v > max;
    return s->bad ? min : v;
}

static int64_t fraction_ms(struct scan *s)
{
    int64_t ms = 0, weight = 100;
    if (!peek(s, '.'))
        return 0;
    s->at++;
    s->bad |= !is_digit(s);
    for (; is_digit(s); s->at++, weight /= 10)
        ms += weight * (*s->at - '0');
    return ms;
}

static int64_t offset_s(struct scan *s)
{
    if (peek(s, 'Z') || peek(s, 'z')) {
        s->at++;
        return 0;
    }
    bool west = peek(s, '-');
    skip(s, west ? '-' : '+');
    int64_t offset = number(s, 2, 0, 23) * HOUR_S;
    skip(s, ':');
    offset += number(s, 2, 0, 59) * MINUTE_S;
    return west ? -offset : offset;
}

int rfc3339_parse(const void *text, size_t len, uint64_t *unix_ms)
{
    if (len < sizeof "1970-01-01T00:00:00Z" - 1)
        return -PARLEY_ERR_BAD_REQUEST;
    struct scan s = {.at = text, .end = (const char *)text + len};
    int64_t year = number(&s, 4, YEAR_MIN - 1, 9999); /* an offset can carry it into 1970 */
    skip(&s, '-');
    int64_t month = number(&s, 2, 1, 12);
    skip(&s, '-');
    int64_t day = number(&s, 2, 1, days_in_month(year, month));
    skip(&s, peek(&s, 't') ? 't' : 'T');
    int64_t seconds = number(&s, 2, 0, 23) * HOUR_S;
    skip(&s, ':');
    seconds += number(&s, 2, 0, 59) * MINUTE_S;
    skip(&s, ':');
    seconds += number(&s, 2, 0, 59);
    int64_t ms = fraction_ms(&s);
    seconds -= offset_s(&s);
    if (s.bad || s.at != s.end)
        return -PARLEY_ERR_BAD_REQUEST;
    ms += (days_from_date(year, month, day) * DAY_S + seconds) * SECOND_MS;
    if (ms < 0 || (uint64_t)ms > RFC3339_MS_MAX)
        return -PARLEY_ERR_BAD_REQUEST;
    *unix_ms = (uint64_t)ms;
    return 0;
}

static char *put_two(char *at, uint32_t v, char then)
{
    at[0] = (char)('0' + v / 10);
    at[1] = (char)('0' + v % 10);
    at[2] = then;
    return at + 3;
}

void rfc3339_format(uint64_t unix_ms, char out[RFC3339_BYTES])
{
    if (unix_ms > RFC3339_MS_MAX)
        unix_ms = RFC3339_MS_MAX;
    uint64_t seconds = unix_ms / SECOND_MS;
    uint32_t ms = (uint32_t)(unix_ms % SECOND_MS), second = (uint32_t)(seconds % DAY_S);
    uint32_t year, month, day;
    date_from_days((uint32_t)(seconds / DAY_S), &year, &month, &day);
    out = put_two(out, year / 100, '0') - 1;
    out = put_two(out, year % 100, '-');
    out = put_two(out, month, '-');
    out = put_two(out, day, 'T');
    out = put_two(out, second / HOUR_S, ':');
    out = put_two(out, second % HOUR_S / MINUTE_S, ':');
    out = put_two(out, second % MINUTE_S, '.');
    *out++ = (char)('0' + ms / 100);
    put_two(out, ms % 100, 'Z');
}

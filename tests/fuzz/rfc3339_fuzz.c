/* src/base/rfc3339.h: a time that is read is written, and read again as the same; the calendar is that of the C library. */
#include <time.h>

#include "src/base/rfc3339.h"
#include "tests/fuzz/fuzz.h"
#include "tools/commands/import_line.h"

static void check_time(uint64_t ms)
{
    char text[RFC3339_BYTES], wanted[RFC3339_BYTES + 1];
    uint64_t again = 0;
    struct tm tm;
    time_t s = (time_t)(ms / 1000);
    parley_assert(ms <= RFC3339_MS_MAX);
    rfc3339_format(ms, text);
    int err = rfc3339_parse(text, sizeof text, &again);
    parley_assert(err == 0 && again == ms);
    parley_assert(gmtime_r(&s, &tm) && strftime(wanted, sizeof wanted, "%Y-%m-%dT%H:%M:%S.", &tm) == 20);
    parley_assert(memcmp(text, wanted, 20) == 0);
}

/* In UTC the text says itself what the time is, to the second. */
static void check_words(struct span text, uint64_t ms)
{
    char words[RFC3339_BYTES];
    rfc3339_format(ms, words);
    if ((text.data[text.len - 1] | 0x20) == 'z')
        parley_assert(memcmp(text.data, words, 10) == 0 && memcmp(text.data + 11, words + 11, 8) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint64_t ms, loose;
    int err = rfc3339_parse(data, len, &ms);
    if (!err) {
        check_time(ms);
        check_words((struct span){data, len}, ms);
    }
    if (import_line_time((struct span){data, len}, &loose) == 0) {
        check_time(loose);
        parley_assert(err || ms == loose); /* what both read, they read alike */
    }
    return 0;
}

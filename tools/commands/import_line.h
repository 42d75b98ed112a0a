/* tools/commands/import_line.h: one line of what is imported: {"conversation","time"?,"sender","text"}.
 *
 * Shape:  JSON text -> import_line_read -> spans and a time. Other fields are passed over.
 *         Times: RFC 3339, and what people write instead: a blank for the T, no seconds, no zone (UTC), or seconds or
 *         milliseconds since 1970 as digits.
 * Owner:  spans as json_read's.
 * Thread: the reader's.
 * Errors: `*why` is a sentence for the user. PARLEY_ERR_END: the text is empty: a message of nothing is none, and the
 *         server takes none.
 */
#ifndef PARLEY_TOOLS_IMPORT_LINE_H
#define PARLEY_TOOLS_IMPORT_LINE_H

#include "net/json.h"

enum { IMPORT_SENDER_BYTES_MAX = 64 };

struct import_line {
    struct span conversation, sender, text;
    uint64_t time_ms; /* 0: none; the server's time will do */
};

PARLEY_MUST_USE int import_line_read(struct json_reader *reader, struct span line, struct import_line *out,
                                     const char **why);
PARLEY_MUST_USE int import_line_time(struct span text, uint64_t *unix_ms);

#endif

/* net/json_writer.h: writes JSON into a buffer of the caller.
 *
 * Why:    answers and events are written straight into the frame that will be sent.
 * Shape:  open, key and value in turn, close. Commas come by themselves. As with base/bytes.h, a writer that
 *         once failed stays failed: callers check once, at the end.
 * Owner:  borrows the buffer. A plain value: copy it to come back to where it was.
 * Thread: any.
 * Errors: `failed`: it did not fit. Strings must be UTF-8 already; all that Parley stores was checked.
 * Source: RFC 8259; 64-bit ids are strings, because JavaScript's numbers end at 2^53.
 */
#ifndef PARLEY_NET_JSON_WRITER_H
#define PARLEY_NET_JSON_WRITER_H

#include <string.h>

#include "src/base/bytes.h"

struct json_writer {
    struct bytes_writer out;
    bool comma; /* before the next key or element */
};

struct json_writer json_writer_of(void *data, size_t len);
void json_open_object(struct json_writer *w);
void json_close_object(struct json_writer *w);
void json_open_array(struct json_writer *w);
void json_close_array(struct json_writer *w);
void json_put_key(struct json_writer *w, const char *name, size_t len);
/* `name` needs no escapes. Inline, because the length of a literal is known to the compiler. */
static inline void json_key(struct json_writer *w, const char *name)
{
    json_put_key(w, name, strlen(name));
}
void json_put_string(struct json_writer *w, struct span s);
void json_put_text(struct json_writer *w, const char *s);
void json_put_int(struct json_writer *w, int64_t v);
void json_put_bool(struct json_writer *w, bool v);
void json_put_id(struct json_writer *w, uint64_t id);
/* As RFC 3339, in UTC. */
void json_put_time(struct json_writer *w, uint64_t unix_ms);
size_t json_writer_len(const struct json_writer *w);

#endif

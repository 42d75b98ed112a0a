/* tools/commands/line_reader.h: lines of a file, plain or gzip, in bounded memory.
 *
 * Why:    what is imported is larger than memory, compressed, or comes through a pipe, and is read twice.
 * Shape:  line_reader_open -> line_reader_next ... -> line_reader_close; gzip is known by its first bytes.
 * Owner:  the descriptor stays the caller's; it is read from its beginning. A line lives until the next call.
 * Thread: one at a time.
 * Errors: PARLEY_ERR_END: no more lines; PARLEY_ERR_TOO_LARGE: this line is, and was passed over; PARLEY_ERR_CORRUPT: the
 *         gzip stream is damaged or cut off; PARLEY_ERR_IO; PARLEY_ERR_NOMEM.
 */
#ifndef PARLEY_TOOLS_LINE_READER_H
#define PARLEY_TOOLS_LINE_READER_H

#include "src/base/base.h"

enum { LINE_BYTES_MAX = 4 << 20 };

struct line_reader;

PARLEY_MUST_USE int line_reader_open(int fd, struct line_reader **out);
void line_reader_close(struct line_reader **reader);
/* Without its line feed; the last line needs none. */
PARLEY_MUST_USE int line_reader_next(struct line_reader *reader, struct span *line);
uint64_t line_reader_number(const struct line_reader *reader); /* of the line that came last, from 1 */
uint64_t line_reader_offset(const struct line_reader *reader); /* bytes of the file read so far */

#endif

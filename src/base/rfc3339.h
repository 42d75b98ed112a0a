/* src/base/rfc3339.h: times as people and JSON write them, 2026-11-24T06:44:48.123Z.
 *
 * Why:    the C library's calendar reads time zones and the locale; the answer here depends on nothing.
 * Shape:  text <-> milliseconds since 1970 in UTC, years 1970 to 9999. Output is always UTC with three
 *         digits of milliseconds; input may have an offset and any number of digits, of which three count.
 * Thread: any.
 * Errors: PARLEY_ERR_BAD_REQUEST: not such a time, or outside of the years. A leap second is refused: it has
 *         no place in the count of milliseconds.
 * Source: RFC 3339 section 5.6; the calendar is Howard Hinnant's "chrono-Compatible Low-Level Date
 *         Algorithms".
 */
#ifndef PARLEY_BASE_RFC3339_H
#define PARLEY_BASE_RFC3339_H

#include "src/base/base.h"

enum { RFC3339_BYTES = 24 };

#define RFC3339_MS_MAX UINT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

PARLEY_MUST_USE int rfc3339_parse(const void *text, size_t len, uint64_t *unix_ms);
/* A time after RFC3339_MS_MAX is written as that. No terminating zero. */
void rfc3339_format(uint64_t unix_ms, char out[RFC3339_BYTES]);

#endif

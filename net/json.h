/* net/json.h: reads one JSON object into a flat table of the fields that the caller knows.
 *
 * Why:    commands are small flat objects; a tree costs an allocation for each value and eight times the time.
 *         yajl alone is too kind: it takes duplicate keys, lone surrogates (as "?"), vertical tabs, and
 *         nesting without end. jansson's strict mode is the oracle of the tests.
 * Shape:  text -> UTF-8 check -> yajl events -> table. Unknown fields are ignored, whatever they hold, but
 *         must be valid; null is the same as absent.
 * Owner:  one reader for each reactor. Spans point into the text, or into the reader when there were escapes;
 *         they live until its next read. To read a nested object (JSON_FIELD_OBJECT), use a second reader.
 * Thread: the creating one. No allocation after create.
 * Errors: of the text first, then of the form:
 *         PARLEY_ERR_BAD_UTF8;
 *         PARLEY_ERR_BAD_JSON:    also a key twice, at any depth, nesting above JSON_DEPTH_MAX, and U+0000;
 *         PARLEY_ERR_TOO_LARGE:   the text, or more keys or elements than the limits;
 *         PARLEY_ERR_BAD_REQUEST: no object, a field of another kind, or a required one missing.
 *         On error the table's contents are undefined.
 * Source: RFC 8259.
 */
#ifndef PARLEY_NET_JSON_H
#define PARLEY_NET_JSON_H

#include "src/base/base.h"

enum {
    JSON_DEPTH_MAX = 8,
    JSON_OPEN_KEY_COUNT_MAX = 256, /* in all objects that are open at one time */
    JSON_ELEMENT_COUNT_MAX = 1024, /* in all arrays of strings of one text */
};

enum json_kind {
    JSON_FIELD_STRING,
    JSON_FIELD_INT, /* without fraction and exponent, 64 bits with sign */
    JSON_FIELD_BOOL,
    JSON_FIELD_STRINGS,
    JSON_FIELD_OBJECT, /* its text, checked */
};

struct json_field {
    const char *name;
    enum json_kind kind;
    bool required;
    bool present; /* out, and all below */
    union {
        struct span string;
        int64_t integer;
        bool boolean;
        struct {
            const struct span *items;
            size_t count;
        } strings;
        struct span object;
    } value;
};

struct json_reader;

/* Owns: the caller destroys it. NULL when out of memory. */
PARLEY_MUST_USE struct json_reader *json_reader_create(uint32_t text_bytes_max);
void json_reader_destroy(struct json_reader **reader);
PARLEY_MUST_USE int json_read(struct json_reader *reader, const uint8_t *text, size_t len,
                              struct json_field *fields, size_t count);

/* 64-bit ids are strings in JSON: decimal, no sign, no leading zeros. False when it is none. */
PARLEY_MUST_USE bool json_id(struct span string, uint64_t *id);

#endif

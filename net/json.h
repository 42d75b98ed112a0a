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
 *         What a field must be stands in the table, and is what a client is told: json_reader_fault.
 * Errors: of the text first, then of the form:
 *         PARLEY_ERR_BAD_UTF8;
 *         PARLEY_ERR_BAD_JSON:    also a key twice, at any depth, nesting above JSON_DEPTH_MAX, and U+0000;
 *         PARLEY_ERR_TOO_LARGE:   the text, or more keys or elements than the limits;
 *         PARLEY_ERR_BAD_REQUEST: no object, a field of another kind, a required one missing, or a text too short;
 *         PARLEY_ERR_TOO_LARGE:   a text too long.
 *         On an error of the form the table holds what was well formed, else nothing.
 * Source: RFC 8259.
 */
#ifndef PARLEY_NET_JSON_H
#define PARLEY_NET_JSON_H

#include "net/fault.h"

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
    const char *must; /* what it must be, in words; NULL: what its kind says */
    enum json_kind kind;
    uint32_t bytes_min, bytes_max; /* of a text, or of each of a list; max 0: of any length */
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

/* What was wrong with the text that was read last. */
struct fault json_reader_fault(const struct json_reader *reader);
/* The fault of a field that is of the right kind and nevertheless not what it must be. */
struct fault json_field_fault(const struct json_field *field);

/* 64-bit ids are strings in JSON: decimal, no sign, no leading zeros. False when it is none. */
PARLEY_MUST_USE bool json_id(struct span string, uint64_t *id);

#endif

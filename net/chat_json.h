/* net/chat_json.h: what the chat doors have in common on their way from and to JSON.
 *
 * Thread: any.
 */
#ifndef PARLEY_NET_CHAT_JSON_H
#define PARLEY_NET_CHAT_JSON_H

#include "net/json.h"
#include "net/json_writer.h"
#include "src/machine/machine.h"

/* What fields must be, in words. */
#define CHAT_USER_MUST "a user id: 1 to 64 bytes of UTF-8"
#define CHAT_CLIENT_ID_MUST "a text of 1 to 64 bytes, the client's choice"
#define CHAT_CONVERSATION_MUST "the id of a conversation: 32 hexadecimal digits"
#define CHAT_MESSAGE_ID_MUST "the id of a message: a decimal number of 64 bits"
#define CHAT_BODY_MUST "a text of at least one byte"
#define CHAT_CONTENT_TYPE_MUST "a text of at most 64 bytes"
#define CHAT_TIME_MUST "a time of RFC 3339, such as 2024-05-01T10:00:00Z"
#define CHAT_SEQ_MUST "the seq of a message, 1 or more"
#define CHAT_RECEIPT_MUST "there, or delivered, or both"
#define CHAT_ROLE_MUST "read_only, member, admin or owner"
/* The fields that commands have in common. */
#define CHAT_FIELD_CLIENT_ID(n)                                                                              \
    {                                                                                                        \
        .name = (n), .kind = JSON_FIELD_STRING, .required = true, .bytes_min = 1,                            \
        .bytes_max = CLIENT_ID_BYTES_MAX, .must = CHAT_CLIENT_ID_MUST                                        \
    }
#define CHAT_FIELD_USER(n)                                                                                   \
    {                                                                                                        \
        .name = (n), .kind = JSON_FIELD_STRING, .bytes_min = 1, .bytes_max = USER_ID_BYTES_MAX,              \
        .must = CHAT_USER_MUST                                                                               \
    }
#define CHAT_FIELD_BODY                                                                                      \
    {                                                                                                        \
        .name = "body", .kind = JSON_FIELD_STRING, .required = true, .bytes_min = 1, .must = CHAT_BODY_MUST  \
    }
#define CHAT_FIELD_CONTENT_TYPE                                                                              \
    {                                                                                                        \
        .name = "content_type", .kind = JSON_FIELD_STRING, .bytes_max = CONTENT_TYPE_BYTES_MAX,              \
        .must = CHAT_CONTENT_TYPE_MUST                                                                       \
    }
#define CHAT_FIELD_SEQ(n)                                                                                    \
    {                                                                                                        \
        .name = (n), .kind = JSON_FIELD_INT, .must = CHAT_SEQ_MUST                                           \
    }
#define CHAT_FIELD_CREATED_AT                                                                                \
    {                                                                                                        \
        .name = "created_at", .kind = JSON_FIELD_STRING, .must = CHAT_TIME_MUST                              \
    }

/* What a shard's refusal of a command is about: doors judge all else before. */
struct fault chat_fault_of_command(const struct command *command, int err);

/* A 16-byte id as 32 lower-case hexadecimal digits; it has one spelling. */
void chat_put_id16(struct json_writer *w, const struct id16 *id);
PARLEY_MUST_USE bool chat_get_id16(struct span hex, struct id16 *id);
struct span chat_words(const char *text);
bool chat_is(struct span s, const char *text);
/* read_only, member, admin, owner. */
const char *chat_role_name(enum member_role role);
PARLEY_MUST_USE bool chat_role_named(struct span name, enum member_role *role);
/* Copies `s` behind what `w` holds and returns the copy: a reader's spans end with its next use. */
struct span chat_keep(struct bytes_writer *w, struct span s);

#endif

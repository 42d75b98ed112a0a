/* net/chat_json.h: what the chat doors have in common on their way from and to JSON.
 *
 * Thread: any.
 */
#ifndef PARLEY_NET_CHAT_JSON_H
#define PARLEY_NET_CHAT_JSON_H

#include "net/json.h"
#include "net/json_writer.h"
#include "src/machine/event.h"

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

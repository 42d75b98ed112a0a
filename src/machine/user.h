/* src/machine/user.h: a user, the object: what he says about himself.
 *
 * Shape:  a name, and the last few profile commands, so that a retried one changes nothing and answers as the
 * first time. Kept twice: applied, and ahead with what is decided but not committed. Row: u8 version,
 * position u64, name, count u8, then fingerprint 16, payload hash u64 and id u64 of each. Thread: its shard's
 * reactor. Owner:  user_create and user_decode give the caller an object to destroy. Errors:
 * -PARLEY_ERR_NOMEM, -PARLEY_ERR_CORRUPT.
 */
#ifndef PARLEY_MACHINE_USER_H
#define PARLEY_MACHINE_USER_H

#include "src/base/bytes.h"
#include "src/machine/event.h"

enum { USER_COMMANDS_MAX = 8, USER_ROW_BYTES_MAX = 1024 };

struct user_command {
    struct id16 fingerprint;
    uint64_t payload_hash, id;
};

struct user_facts {
    uint8_t name[DISPLAY_NAME_BYTES_MAX];
    uint16_t name_len;
    uint8_t command_count;
    struct user_command commands[USER_COMMANDS_MAX]; /* newest first */
};

struct user {
    struct id16 hash;
    uint64_t position, ahead_position; /* as in a conversation */
    struct user_facts applied, ahead;
};

PARLEY_MUST_USE int user_create(const struct id16 *hash, struct user **out);
PARLEY_MUST_USE int user_decode(const struct id16 *hash, struct span row, struct user **out);
void user_destroy(struct user **user);
void user_encode(const struct user *user, struct bytes_writer *w); /* at most USER_ROW_BYTES_MAX */
struct span user_name(const struct user *user);
/* A command that was decided before, or NULL. */
const struct user_command *user_find(const struct user *user, const struct id16 *fingerprint);
void user_decided(struct user *user, const struct event *event, uint64_t position);
void user_apply(struct user *user, const struct event *event, uint64_t position);

#endif

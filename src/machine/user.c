#include "src/machine/user.h"

#include <string.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"

enum { USER_VERSION = 1 };

int user_create(const struct id16 *hash, struct user **out)
{
    struct user *user = memory_zalloc(sizeof *user);
    if (!user)
        return -PARLEY_ERR_NOMEM;
    user->hash = *hash;
    *out = user;
    return 0;
}

void user_destroy(struct user **user)
{
    memory_free(*user);
    *user = NULL;
}

struct span user_name(const struct user *user)
{
    return (struct span){user->applied.name, user->applied.name_len};
}

void user_encode(const struct user *user, struct bytes_writer *w)
{
    const struct user_facts *f = &user->applied;
    bytes_put_u8(w, USER_VERSION);
    bytes_put_u64(w, user->position);
    bytes_put_span(w, user_name(user));
    bytes_put_u8(w, f->command_count);
    for (unsigned i = 0; i < f->command_count; i++) {
        bytes_put_id16(w, &f->commands[i].fingerprint);
        bytes_put_u64(w, f->commands[i].payload_hash);
        bytes_put_u64(w, f->commands[i].id);
    }
}

static void set_name(struct user_facts *f, struct span name)
{
    parley_assert(name.len <= sizeof f->name);
    if (name.len)
        memcpy(f->name, name.data, name.len);
    f->name_len = (uint16_t)name.len;
}

static int decode_facts(struct user_facts *f, struct bytes_reader *r)
{
    struct span name = bytes_get_span(r);
    f->command_count = bytes_get_u8(r);
    if (r->failed || name.len > DISPLAY_NAME_BYTES_MAX || !utf8_valid(name) ||
        f->command_count > USER_COMMANDS_MAX)
        return -PARLEY_ERR_CORRUPT;
    set_name(f, name);
    for (unsigned i = 0; i < f->command_count; i++) {
        f->commands[i].fingerprint = bytes_get_id16(r);
        f->commands[i].payload_hash = bytes_get_u64(r);
        f->commands[i].id = bytes_get_u64(r);
    }
    return bytes_reader_done(r) ? 0 : -PARLEY_ERR_CORRUPT;
}

int user_decode(const struct id16 *hash, struct span row, struct user **out)
{
    struct user *user = NULL;
    int rc = user_create(hash, &user);
    if (rc)
        return rc;
    struct bytes_reader r = bytes_reader_of(row.data, row.len);
    if (bytes_get_u8(&r) != USER_VERSION)
        r.failed = true;
    user->position = bytes_get_u64(&r);
    rc = decode_facts(&user->applied, &r);
    if (rc) {
        user_destroy(&user);
        return rc;
    }
    user->ahead = user->applied;
    *out = user;
    return 0;
}

const struct user_command *user_find(const struct user *user, const struct id16 *fingerprint)
{
    for (unsigned i = 0; i < user->ahead.command_count; i++)
        if (memcmp(&user->ahead.commands[i].fingerprint, fingerprint, sizeof *fingerprint) == 0)
            return &user->ahead.commands[i];
    return NULL;
}

static void fold(struct user_facts *f, const struct event *e)
{
    set_name(f, e->display_name);
    if (f->command_count < USER_COMMANDS_MAX)
        f->command_count++;
    memmove(f->commands + 1, f->commands, (f->command_count - 1u) * sizeof f->commands[0]);
    f->commands[0] = (struct user_command){e->fingerprint, e->payload_hash, e->id};
}

void user_decided(struct user *user, const struct event *e, uint64_t position)
{
    parley_assert(position > user->position && position > user->ahead_position);
    fold(&user->ahead, e);
    user->ahead_position = position;
}

void user_apply(struct user *user, const struct event *e, uint64_t position)
{
    if (user->position >= position)
        return;
    fold(&user->applied, e);
    user->position = position;
    if (user->ahead_position <= position)
        user->ahead = user->applied;
}

#include "tests/sim/sim_op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct span sim_words(const char *text)
{
    return (struct span){(const uint8_t *)text, strlen(text)};
}

static struct id16 hash_callback(void *owner, const void *data, size_t len)
{
    const struct sim_names *names = owner;
    return hash_128(names->key, data, len);
}

struct id16 sim_op_conversation(const struct sim_op *op, const struct sim_names *names)
{
    struct hasher hasher = {(void *)names, hash_callback};
    struct span actor = sim_words(names->users[op->user].name);
    if (op->type == CONVERSATION_DIRECT)
        return conversation_id_direct(&hasher, actor, sim_words(names->users[op->first_member].name));
    return conversation_id_group(&hasher, op->type, actor, sim_words(op->client_id));
}

static uint8_t body_byte(const struct sim_op *op, size_t at)
{
    return (uint8_t)('a' + (op->number * 7 + at * (1 + op->number % 5)) % 26);
}

bool sim_op_body_is(const struct sim_op *op, struct span body)
{
    bool same = body.len == op->body_len;
    for (size_t i = 0; same && i < body.len; i++)
        same = body.data[i] == body_byte(op, i);
    return same;
}

static struct command_member *members_of(const struct sim_op *op, const struct sim_names *names)
{
    struct command_member *members = calloc(op->member_count + 1, sizeof *members);
    parley_assert(members);
    for (uint32_t i = 0; i < op->member_count; i++) {
        const struct sim_user *user = &names->users[(op->first_member + i) % names->user_count];
        members[i] = (struct command_member){.user = sim_words(user->name), .hash = user->hash};
        if (i % 5 == 4)
            members[i].role = ROLE_ADMIN;
    }
    return members;
}

void sim_op_text(const struct sim_op *op, const struct sim_names *names, bool altered,
                 struct sim_op_text *out)
{
    const struct sim_user *actor = &names->users[op->user];
    *out = (struct sim_op_text){.command = {.kind = op->kind,
                                            .actor = sim_words(actor->name),
                                            .actor_hash = actor->hash,
                                            .client_id = sim_words(op->client_id),
                                            .type = op->type,
                                            .role = op->role}};
    struct command *c = &out->command;
    snprintf(out->title, sizeof out->title, "%s %u", altered ? "altered" : "title", op->number);
    if (op->kind == COMMAND_CREATE) {
        c->members = out->members = members_of(op, names);
        c->member_count = op->member_count;
        if (op->type != CONVERSATION_DIRECT)
            c->title = sim_words(out->title);
    } else if (op->kind == COMMAND_SEND) {
        size_t len = op->body_len + altered;
        out->body = malloc(len);
        parley_assert(out->body);
        for (size_t i = 0; i < len; i++)
            out->body[i] = body_byte(op, i);
        c->body = (struct span){out->body, len};
        c->content_type = sim_words("text/plain");
    } else if (op->kind == COMMAND_PROFILE) {
        c->display_name = sim_words(out->title);
    } else {
        const struct sim_user *target = &names->users[(op->target + altered) % names->user_count];
        c->target = sim_words(target->name);
        c->target_hash = target->hash;
    }
}

void sim_op_text_end(struct sim_op_text *text)
{
    free(text->body);
    free(text->members);
    text->body = NULL;
    text->members = NULL;
}

const char *sim_op_kind_name(enum command_kind kind)
{
    static const char *const names[] = {"?", "create", "add", "remove", "role", "send", "profile"};
    return names[kind];
}

#include "tests/sim/sim_op.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sim_op_kind kinds[] = {
    [COMMAND_CREATE] = {"create", EVENT_CREATED, true, true},
    [COMMAND_ADD] = {"add", EVENT_ADDED, true, true},
    [COMMAND_REMOVE] = {"remove", EVENT_REMOVED, true, true},
    [COMMAND_ROLE] = {"role", EVENT_ROLE, true, true},
    [COMMAND_SEND] = {"send", EVENT_MESSAGE, true, true},
    [COMMAND_PROFILE] = {"profile", EVENT_PROFILE, true, true},
    [COMMAND_FENCE] = {"fence", EVENT_FENCED, true, false},
    [COMMAND_RECEIPT] = {"receipt", EVENT_RECEIPT, false, false},
};

const struct sim_op_kind *sim_op_kind(enum command_kind kind)
{
    return &kinds[kind];
}

const char *sim_op_kind_name(enum command_kind kind)
{
    return kinds[kind].name;
}

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

static void send_text(const struct sim_op *op, bool altered, struct sim_op_text *out)
{
    size_t len = op->body_len + altered;
    out->body = malloc(len);
    parley_assert(out->body);
    for (size_t i = 0; i < len; i++)
        out->body[i] = body_byte(op, i);
    out->command.body = (struct span){out->body, len};
    out->command.content_type = sim_words("text/plain");
    out->command.created_at_ms = op->created_at_ms;
}

static void create_text(const struct sim_op *op, const struct sim_names *names, struct sim_op_text *out)
{
    out->command.members = out->members = members_of(op, names);
    out->command.member_count = op->member_count;
    if (op->type != CONVERSATION_DIRECT)
        out->command.title = sim_words(out->title);
}

void sim_op_text(const struct sim_op *op, const struct sim_names *names, bool altered,
                 struct sim_op_text *out)
{
    const struct sim_user *actor = &names->users[op->user],
                          *target = &names->users[(op->target + altered) % names->user_count];
    *out =
        (struct sim_op_text){.command = {.kind = op->kind,
                                         .actor = sim_words(actor->name),
                                         .actor_hash = actor->hash,
                                         .service = op->service,
                                         .client_id = sim_words(op->of ? op->of->client_id : op->client_id),
                                         .type = op->type,
                                         .role = op->role}};
    struct command *c = &out->command;
    snprintf(out->title, sizeof out->title, "%s %u", altered ? "altered" : "title", op->number);
    switch (op->kind) {
    case COMMAND_CREATE:
        create_text(op, names, out);
        break;
    case COMMAND_SEND:
        send_text(op, altered, out);
        break;
    case COMMAND_PROFILE:
        c->display_name = sim_words(out->title);
        break;
    case COMMAND_FENCE:
        break;
    case COMMAND_RECEIPT:
        c->client_id = (struct span){0};
        c->read_seq = op->read_seq;
        c->delivered_seq = op->delivered_seq;
        break;
    default:
        c->target = sim_words(target->name);
        c->target_hash = target->hash;
        break;
    }
}

void sim_op_text_end(struct sim_op_text *text)
{
    free(text->body);
    free(text->members);
    text->body = NULL;
    text->members = NULL;
}

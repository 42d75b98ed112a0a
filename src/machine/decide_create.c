#include "src/machine/turn.h"

#include "src/base/error.h"
#include "src/base/memory.h"

/* The first members, each once; the creator first unless a service creates a direct one for two others. */
static uint32_t first_members(const struct command *c, struct command_member *out)
{
    uint32_t count = 0;
    enum member_role own = c->type == CONVERSATION_DIRECT ? ROLE_MEMBER : ROLE_OWNER;
    if (!(c->service && c->type == CONVERSATION_DIRECT && c->member_count == 2))
        out[count++] = (struct command_member){c->actor, c->actor_hash, own};
    for (uint32_t i = 0; i < c->member_count; i++) {
        bool known = false;
        for (uint32_t j = 0; j < count && !known; j++)
            known = same_id(&out[j].hash, &c->members[i].hash);
        if (known)
            continue;
        out[count] = c->members[i];
        if (out[count].role == 0 || c->type == CONVERSATION_DIRECT)
            out[count].role = ROLE_MEMBER;
        count++;
    }
    return count;
}

void decide_create(struct turn *t)
{
    const struct command *c = t->cmd;
    struct command_member members[CREATE_MEMBERS_MAX + 1];
    uint32_t count = first_members(c, members);
    if (c->type == CONVERSATION_DIRECT && (count != 2 || c->title.len)) {
        turn_refuse(t, -PARLEY_ERR_BAD_REQUEST);
        return;
    }
    if (c->title.len > t->ctx->limits.title_bytes_max) {
        turn_refuse(t, -PARLEY_ERR_TOO_LARGE);
        return;
    }
    if (count > turn_members_max(t, c->type) || count > CREATE_MEMBERS_MAX) {
        turn_refuse(t, -PARLEY_ERR_LIMIT);
        return;
    }
    size_t max = (size_t)count * (20 + USER_ID_BYTES_MAX);
    t->v->members = memory_alloc(max);
    if (!t->v->members) {
        turn_refuse(t, -PARLEY_ERR_NOMEM);
        return;
    }
    struct bytes_writer w = bytes_writer_of(t->v->members, max);
    for (uint32_t i = 0; i < count; i++)
        member_put_new(&w, &members[i].hash, members[i].role, members[i].user);
    parley_assert(!w.failed);
    struct event *e = turn_event(t, EVENT_CREATED);
    e->type = c->type;
    e->title = c->title;
    e->page_count = page_count_for(count);
    e->members = (struct span){t->v->members, bytes_writer_len(&w)};
    e->member_count = count;
    if (turn_stage(t))
        turn_conclude(t);
}

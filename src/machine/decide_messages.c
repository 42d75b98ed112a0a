#include "src/machine/turn.h"

#include "src/base/error.h"

void decide_send(struct turn *t)
{
    const struct command *c = t->cmd;
    const struct member *actor = NULL;
    if (!turn_find_member(t, &c->actor_hash, &actor))
        return;
    int rc = 0;
    if (turn_role(actor) == 0)
        rc = -PARLEY_ERR_NOT_MEMBER;
    else if (actor->role == ROLE_READ_ONLY || (c->created_at_ms && !c->service))
        rc = -PARLEY_ERR_FORBIDDEN;
    else if (c->body.len > t->ctx->limits.body_bytes_max)
        rc = -PARLEY_ERR_TOO_LARGE;
    if (rc) {
        turn_refuse(t, rc);
        return;
    }
    struct event *e = turn_event(t, EVENT_MESSAGE);
    e->sender_tag = event_sender_tag(&c->actor_hash);
    e->seq = t->conv->ahead.last_seq + 1;
    e->created_at_ms = c->created_at_ms;
    e->device = c->device;
    e->content_type = c->content_type;
    e->body = c->body;
    turn_conclude(t);
}

/* "Did my send happen?", when the answer must stay true: what is not there is kept from ever getting there. */
void decide_fence(struct turn *t)
{
    const struct member *actor = NULL;
    if (!turn_find_member(t, &t->cmd->actor_hash, &actor))
        return;
    if (turn_role(actor) == 0) {
        turn_refuse(t, -PARLEY_ERR_NOT_MEMBER);
        return;
    }
    turn_event(t, EVENT_FENCED);
    turn_conclude(t);
}

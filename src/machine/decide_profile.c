#include "src/machine/turn.h"

#include "src/base/error.h"

void decide_profile(struct turn *t)
{
    const struct user *user = t->view->user;
    if (!user) {
        turn_need(t, (struct machine_key){.kind = OBJECT_USER, .id = t->cmd->actor_hash});
        return;
    }
    const struct user_command *first = user_find(user, &t->fingerprint);
    if (first) {
        uint64_t applied = user->applied.command_count ? user->applied.commands[0].id : 0;
        if (first->payload_hash == t->payload_hash) {
            turn_answer_first(t, first->id, 0, 0);
        } else {
            turn_refuse(t, -PARLEY_ERR_CONFLICT);
        }
        t->v->basis = first->id > applied ? first->id : 0;
        return;
    }
    struct event *e = turn_event(t, EVENT_PROFILE);
    e->target_hash = t->cmd->actor_hash;
    e->display_name = t->cmd->display_name;
    turn_conclude(t);
}

#include "src/machine/machine.h"

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/machine/turn.h"

void verdict_clear(struct verdict *v)
{
    for (uint32_t i = 0; i < v->page_count; i++)
        page_members_destroy(&v->pages[i].next);
    memory_free(v->members);
    *v = (struct verdict){0};
}

/* True when the command has an answer from before. */
static bool decided_before(struct turn *t)
{
    struct conversation *conv = t->conv;
    struct dedup_entry first;
    if (t->cmd->kind == COMMAND_CREATE && conv->ahead.exists) {
        /* A direct one is the same whoever creates it; another's id says who created it, and with which client id. */
        uint64_t basis = turn_if_uncommitted(conv, conv->created_id);
        if (conv->type == CONVERSATION_DIRECT || conv->create_hash == t->payload_hash) {
            turn_answer_first(t, conv->created_id, 0, basis);
        } else {
            turn_refuse(t, -PARLEY_ERR_CONFLICT);
            t->v->basis = basis;
        }
        return true;
    }
    int rc = dedup_find(&conv->dedup, &t->fingerprint, t->view->given, t->view->given_count, &first,
                        &t->v->need_first_id);
    if (rc == DEDUP_NEW)
        return false;
    if (rc == DEDUP_NEED_ROW) {
        t->v->kind = VERDICT_NEED_ROW;
    } else if (rc < 0) {
        turn_refuse(t, rc);
    } else if (first.payload_hash == t->payload_hash ||
               (t->cmd->kind == COMMAND_FENCE && first.kind == EVENT_MESSAGE)) {
        turn_answer_first(t, first.id, first.seq, turn_if_uncommitted(conv, first.id));
    } else {
        turn_refuse(t, first.kind == EVENT_FENCED ? -PARLEY_ERR_FENCED : -PARLEY_ERR_CONFLICT);
        t->v->basis = turn_if_uncommitted(conv, first.id);
    }
    return true;
}

static void decide_in_conversation(struct turn *t)
{
    t->conv = t->view->conversation;
    if (!t->conv) {
        turn_need(t, (struct machine_key){.kind = OBJECT_CONVERSATION, .id = t->cmd->conversation});
        return;
    }
    parley_assert(same_id(&t->conv->id, &t->cmd->conversation));
    if (t->cmd->kind != COMMAND_RECEIPT && decided_before(t))
        return;
    if (t->cmd->kind != COMMAND_CREATE && !t->conv->ahead.exists) {
        turn_refuse(t, -PARLEY_ERR_NOT_FOUND);
        return;
    }
    switch (t->cmd->kind) {
    case COMMAND_CREATE:
        decide_create(t);
        break;
    case COMMAND_ADD:
        decide_add(t);
        break;
    case COMMAND_REMOVE:
    case COMMAND_ROLE:
        decide_change(t);
        break;
    case COMMAND_SEND:
        decide_send(t);
        break;
    case COMMAND_FENCE:
        decide_fence(t);
        break;
    case COMMAND_RECEIPT:
        decide_receipt(t);
        break;
    case COMMAND_PROFILE:
        break;
    }
}

void machine_decide(const struct command *cmd, const struct machine_view *view,
                    const struct machine_context *ctx, struct verdict *out)
{
    *out = (struct verdict){0};
    struct turn t = {.cmd = cmd, .view = view, .ctx = ctx, .v = out};
    int rc = command_check_form(cmd);
    if (rc) {
        turn_refuse(&t, rc);
        return;
    }
    turn_hash_fingerprint(&t);
    turn_hash_payload(&t);
    if (cmd->kind == COMMAND_PROFILE)
        decide_profile(&t);
    else
        decide_in_conversation(&t);
    if (out->kind != VERDICT_EVENTS) { /* an answer leaves nothing half made behind */
        struct verdict answer = {.kind = out->kind,
                                 .error = out->error,
                                 .basis = out->basis,
                                 .id = out->id,
                                 .seq = out->seq,
                                 .need_first_id = out->need_first_id,
                                 .need = out->need};
        verdict_clear(out);
        *out = answer;
    }
}

void machine_recall(const struct command *cmd, const struct machine_view *view,
                    const struct machine_context *ctx, struct verdict *out)
{
    *out = (struct verdict){0};
    struct turn t = {.cmd = cmd, .view = view, .ctx = ctx, .v = out, .conv = view->conversation};
    struct dedup_entry first = {0};
    int rc = command_check_text(cmd->client_id, 1, CLIENT_ID_BYTES_MAX);
    if (rc == 0) {
        turn_hash_fingerprint(&t);
        rc = dedup_find(&t.conv->dedup, &t.fingerprint, view->given, view->given_count, &first,
                        &out->need_first_id);
    }
    if (rc == DEDUP_NEED_ROW)
        out->kind = VERDICT_NEED_ROW;
    else if (rc == DEDUP_FOUND && first.kind == EVENT_FENCED && first.id <= t.conv->applied.last_event_id)
        turn_refuse(&t, -PARLEY_ERR_FENCED);
    else if (rc == DEDUP_FOUND && first.id <= t.conv->applied.last_event_id)
        turn_answer_first(&t, first.id, first.seq, 0);
    else
        turn_refuse(&t, rc < 0 ? rc : -PARLEY_ERR_NOT_FOUND);
}

void machine_decided(const struct machine_view *view, struct verdict *v, uint64_t position)
{
    parley_assert(v->kind == VERDICT_EVENTS && position > 0);
    for (uint32_t i = 0; i < v->event_count; i++) {
        if (v->events[i].kind == EVENT_PROFILE)
            user_decided(view->user, &v->events[i], position + i);
        else
            conversation_decided(view->conversation, &v->events[i], position + i);
    }
    for (uint32_t i = 0; i < v->page_count; i++)
        page_decided(v->pages[i].page, &v->pages[i].next, position + v->pages[i].event);
    v->page_count = 0;
}

int machine_apply_conversation(struct conversation *conversation, const struct event *event,
                               uint64_t position)
{
    return conversation_apply(conversation, event, position);
}

int machine_apply_page(struct page *page, const struct event *event, uint64_t position)
{
    return page_apply(page, event, position);
}

int machine_apply_user(struct user *user, const struct event *event, uint64_t position)
{
    user_apply(user, event, position);
    return 0;
}

/* src/machine/turn.h: one decision under way, as the machine's own parts see it (decide_*.c).
 *
 * Why:    each kind of command has a file of its own; what all of them do, answering, drawing ids and staging pages, is here.
 * Shape:  machine_decide -> decide_KIND(turn): ends in turn_refuse, turn_answer_first, turn_need or turn_conclude.
 *         Helpers that can end it return false then: the caller returns.
 * Thread: the shard's reactor.
 * Errors: a command of a wrong form: what the client is told; helpers that answer false: the turn has ended.
 * Owner:  the turn borrows everything; what the verdict owns is freed by verdict_clear.
 */
#ifndef PARLEY_MACHINE_TURN_H
#define PARLEY_MACHINE_TURN_H

#include <string.h>

#include "src/machine/machine.h"

struct turn {
    const struct command *cmd;
    const struct machine_view *view;
    const struct machine_context *ctx;
    struct conversation *conv;
    struct verdict *v;
    struct id16 fingerprint;
    uint64_t payload_hash;
};

/* What the formats of events and rows can hold at all; configured limits are judged after dedup. */
PARLEY_MUST_USE int command_check_form(const struct command *command);
PARLEY_MUST_USE int command_check_text(struct span text, size_t min, size_t max);

void turn_hash_fingerprint(struct turn *t);
void turn_hash_payload(struct turn *t);

/* Answers. */
void turn_refuse(struct turn *t, int error);
/* As its first time; the answer waits for `basis`. */
void turn_answer_first(struct turn *t, uint64_t id, uint64_t seq, uint64_t basis);
void turn_need(struct turn *t, struct machine_key key);
/* The events so far are the verdict, if there is room for them. */
void turn_conclude(struct turn *t);
/* The id while its event is not committed, else 0. */
uint64_t turn_if_uncommitted(const struct conversation *conversation, uint64_t id);

/* Making events. */
struct event *turn_event(struct turn *t, enum event_kind kind);
/* Makes the last event's pages. */
PARLEY_MUST_USE bool turn_stage(struct turn *t);

/* Looking. */
struct page *turn_page(struct turn *t, uint32_t number); /* NULL: it is needed */
/* The members of a page after the events so far. */
const struct page_members *turn_members(struct turn *t, struct page *page);
/* *out is NULL when he never was a member. */
PARLEY_MUST_USE bool turn_find_member(struct turn *t, const struct id16 *hash, const struct member **out);
/* The role of who is in now, or 0. */
unsigned turn_role(const struct member *member);
uint32_t turn_members_max(const struct turn *t, unsigned conversation_type);
/* With one more in it, is a page to be split? */
bool turn_split_due(const struct conversation_counts *counts);

void decide_create(struct turn *t);
void decide_add(struct turn *t);
void decide_change(struct turn *t);
void decide_send(struct turn *t);
void decide_fence(struct turn *t);
void decide_receipt(struct turn *t);
void decide_profile(struct turn *t);

#endif

/* tools/commands/import_setup.h: the conversations of a plan, created, with everybody in them who writes there.
 *
 * Shape:  plan -> POST /v1/conversations for each (a channel: a group ends at 1,000 members), with the first
 *         SETUP_MEMBERS_MAX members -> ids -> POST .../members for the others
 *         The client id comes from the name, so that a second run finds the same conversation. Its members are part of
 *         what was asked then: when the file has grown since, the server says `conflict`; the members of that time are a
 *         beginning of those of now, so shorter beginnings are tried until the server knows one. Adding who is in
 *         already changes nothing.
 * Thread: one.
 * Errors: told on standard error.
 */
#ifndef PARLEY_TOOLS_IMPORT_SETUP_H
#define PARLEY_TOOLS_IMPORT_SETUP_H

#include "tools/commands/import_plan.h"
#include "tools/commands/session.h"

enum { SETUP_MEMBERS_MAX = 255 /* the server takes 256 with the creator */ };

PARLEY_MUST_USE int import_setup(struct session *session, struct import_plan *plan,
                                 struct progress *progress);

#endif

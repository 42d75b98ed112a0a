/* tools/commands/import_send.h: every message of the file over one WebSocket, hundreds under way.
 *
 * Shape:  file (the second pass) -> import_queue -> {"type":"send",...,"as":SENDER} -> ack -> done
 *         client_msg_id: import-HASH-N: the hash of the conversation's name, and which line of it that is, empty ones
 *         counted: the same line has the same id in each run, so the server stores it once.
 *         `overloaded`, `closing` and `internal` pass: all waits as long as the server asks, and half as many are under way
 *         from then on (more again as answers come). A lost connection is opened again, and what was not acknowledged is
 *         sent again. Other refusals are told with their line, and counted.
 * Thread: one.
 * Errors: told on standard error. PARLEY_ERR_IO: for retry_for_s no answer; PARLEY_ERR_FORBIDDEN: the token may not do it;
 *         PARLEY_ERR_DISK_FULL.
 */
#ifndef PARLEY_TOOLS_IMPORT_SEND_H
#define PARLEY_TOOLS_IMPORT_SEND_H

#include "tools/commands/import_plan.h"
#include "tools/commands/import_state.h"
#include "tools/commands/session.h"

enum { IMPORT_WINDOW_MAX = 1000 /* the server allows 1,024 on a connection */ };

struct import_options {
    uint64_t window, each_max, ahead_bytes_max;
    const char *state_path; /* NULL: none */
};

struct import_counts {
    uint64_t sent; /* acknowledged, those that were there among them */
    uint64_t duplicates, refused, skipped, retried, reconnects, out_of_order;
};

PARLEY_MUST_USE int import_send(struct session *session, const struct import_plan *plan,
                                const struct plan_source *source, const struct import_options *options,
                                struct import_state *state, struct progress *progress,
                                struct import_counts *counts);

#endif

/* tests/sim/sim_frame.h: the frames of the WebSocket protocol as a client writes and reads them (docs/api.md).
 *
 * Why:    the door is driven by what is on the wire, nothing less.
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_FRAME_H
#define PARLEY_TESTS_SIM_FRAME_H

#include "net/json.h"
#include "tests/sim/sim_op.h"

enum sim_frame_type {
    SIM_FRAME_HELLO,
    SIM_FRAME_ACK,
    SIM_FRAME_ERROR,
    SIM_FRAME_MESSAGE,
    SIM_FRAME_EVENT,
    SIM_FRAME_TYPING,
    SIM_FRAME_RESUMED,
    SIM_FRAME_LAG,
    SIM_FRAME_TYPE_COUNT
};

/* What a frame says; texts point into it. */
struct sim_said {
    enum sim_frame_type type;
    bool has_conversation, replay, duplicate;
    struct id16 conversation;
    uint64_t id, seq, last, session, read_seq, delivered_seq, time_ms, created_at_ms;
    struct span kind, client_id, sender, target, role, user, body;
    int err;
};

/* False: it is not of the documented form. */
bool sim_frame_read(struct json_reader *reader, struct json_reader *inner, struct span text,
                    struct sim_said *out);

/* Each answers a text that the next call overwrites. */
const char *sim_frame_send(const struct sim_op *op, const struct sim_names *names,
                           const struct id16 *conversation);
const char *sim_frame_receipt(const struct sim_op *op, const struct sim_names *names,
                              const struct id16 *conversation);
const char *sim_frame_typing(const struct id16 *conversation);
const char *sim_frame_resume(const struct id16 *conversation, uint64_t after);

#endif

/* tests/sim/sim_socket.h: the simulated twin of net/ws_socket.h: frames between a door and a device, without sockets.
 *
 * Why:    net/chat_ws.c, chat_follow.c and chat_resume.c are driven as they are, while a device reads late, or never, and
 *         connections end at any point.
 * Shape:  ws_socket_send -> [filling] -sim_socket_flush-> [writing] -as the wire has room-> [wire] -> sim_socket_read
 *         ops.message <-sim_socket_hear- [heard] <- sim_socket_write
 *         A connection has two ends, and is freed when both are gone; whoever goes first is noticed by the other later.
 * Owner:  the context lists all whose door's end is there, in all[0].
 * Thread: one.
 */
#ifndef PARLEY_TESTS_SIM_SOCKET_H
#define PARLEY_TESTS_SIM_SOCKET_H

#include "net/ws_socket.h"

struct sim_frame {
    struct sim_frame *next;
    void *about; /* the writer's own */
    uint32_t len;
    char text[]; /* ends with a zero */
};

struct sim_frames {
    struct sim_frame *first, **last;
    uint32_t bytes, count;
};

struct ws_socket {
    struct ws_socket *next;
    struct ws_context *context;
    const struct ws_socket_ops *ops;
    void *owner;
    void *device; /* the device's own */
    struct sim_frames filling, writing, wire, heard;
    uint64_t ticked_ms, closing_ms;
    uint16_t code; /* of the close; 0: none */
    bool opened, held, wants_drain, leaving;
    bool door_gone, device_gone;
};

/* How much a byte counts that is queued, and how many bytes a wire takes, from now on. */
void sim_socket_set(uint32_t weight, uint32_t wire_bytes);

/* -- the device's end */

/* The frame belongs to the caller: free(). NULL: there is none now. */
struct sim_frame *sim_socket_read(struct ws_socket *ws);
/* `about` comes back from sim_socket_hear, or from sim_socket_unheard. */
void sim_socket_write(struct ws_socket *ws, const char *text, void *about);
/* Nothing more will come. */
bool sim_socket_ended(const struct ws_socket *ws);
/* What the door has not read is forgotten; each such frame is told of. */
typedef void sim_unheard_fn(void *owner, void *about);
void sim_socket_hang_up(struct ws_socket *ws, sim_unheard_fn *unheard, void *owner);

/* -- the door's end */

void sim_socket_open(struct ws_socket *ws);
/* The next frame that the door may read; NULL: there is none. It is the caller's: ops.message, then free(). */
struct sim_frame *sim_socket_hear(struct ws_socket *ws);
void sim_socket_flush(struct ws_socket *ws, uint64_t now_ms);
/* The connection is over for the door, whatever is queued. */
void sim_socket_drop(struct ws_socket *ws, sim_unheard_fn *unheard, void *owner);

#endif

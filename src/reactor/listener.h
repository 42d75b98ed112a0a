/* src/reactor/listener.h: accepts connections for one reactor.
 *
 * Why:    each reactor listens by itself (SO_REUSEPORT), so that a connection is born where it will live; and
 *         a process out of file descriptors must not spin, nor leave clients hanging, nor one address take every place.
 * Shape:  kernel's queue -> accept (a few a turn) -> on_connection, or told so, closed at once and counted
 * Thread: the reactor's own.
 * Errors: 0 or a negative enum parley_err; on error nothing has changed.
 */
#ifndef PARLEY_REACTOR_LISTENER_H
#define PARLEY_REACTOR_LISTENER_H

#include "src/base/base.h"

struct listener;
struct reactor;
struct sockaddr;
struct st_h2o_socket_t;

struct listener_options {
    struct reactor *reactor;
    const char *address; /* numeric IPv4 or IPv6; NULL: 127.0.0.1. A name would have to be looked up. */
    uint16_t port;       /* 0: a free one, see listener_port; give that to the next reactor's listener */
    uint32_t connection_count_max;
    uint32_t
        peer_connection_count_max; /* of one address, see peer_table.h; 0: no other cap than that of all */
    struct span
        refusal; /* borrowed: what a connection beyond the caps is told; as much as the kernel takes at once */
    void *owner;
    /* Owns: takes the socket and closes it. Its on_close is the listener's: so connections are counted. `peer` is
     * borrowed. */
    void (*on_connection)(void *owner, struct st_h2o_socket_t *socket, const struct sockaddr *peer);
};

struct listener_counters {
    uint64_t accepted;
    uint64_t refused_cap;   /* closed at once: connection_count_max are open */
    uint64_t refused_peer;  /* closed at once: its address has peer_connection_count_max open */
    uint64_t refused_files; /* closed at once: no file descriptor was left but those kept for files */
    uint64_t pauses;        /* times that accepting rested because the system had nothing left */
};

/* -PARLEY_ERR_BAD_REQUEST: not an address. -PARLEY_ERR_CONFLICT: the port is taken. -PARLEY_ERR_IO,
 * -PARLEY_ERR_NOMEM. Owns: the caller destroys it on the reactor's thread. */
PARLEY_MUST_USE int listener_create(const struct listener_options *options, struct listener **out);
/* No connection is open any more. */
void listener_destroy(struct listener **listener);
/* Shutting down: the port is closed, open connections still count. */
void listener_stop(struct listener *listener);

uint16_t listener_port(const struct listener *listener);
uint32_t listener_connection_count(const struct listener *listener);
void listener_counters_read(const struct listener *listener, struct listener_counters *out);

#endif

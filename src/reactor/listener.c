#include "src/reactor/listener.h"
#include "src/reactor/peer_table.h"
#include "src/reactor/reactor.h"
#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/base/memory.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <h2o/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    LISTENER_MAGIC = 0x4c495354,
    ACCEPT_COUNT_MAX = 64, /* a turn: a storm of connections must not starve those that are there */
    FILES_KEPT_MAX = 128,  /* descriptors that connections leave to the log and the database */
    PAUSE_MS = 100,
    TELL_EVERY_MS = 10000,
    BACKLOG = 4096, /* the kernel cuts it to net.core.somaxconn */
    /* Of a connection, beside what is under way: else the kernel keeps megabytes for each reader who stalls. */
    UNSENT_BYTES_MAX = 128 << 10
};

struct listener {
    uint32_t magic;
    uint16_t port;
    uint32_t connection_count;
    struct listener_options options;
    h2o_socket_t *socket; /* NULL once stopped */
    int reserve_fd;       /* given up to refuse a client politely when no other is left; -1: in use */
    struct wheel_timer pause;
    struct peer_table *peers;
    struct listener_counters counters;
    uint64_t told_ms; /* of refusals, in the log; 0: never */
};

/* Freed when its socket is closed. */
struct connection {
    struct listener *listener;
    uint64_t peer;
};

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int parse_address(const struct listener_options *options, union any_address *address, socklen_t *len)
{
    const char *text = options->address ? options->address : "127.0.0.1";
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, text, &address->v4.sin_addr) == 1) {
        address->v4.sin_family = AF_INET;
        address->v4.sin_port = htons(options->port);
        *len = sizeof address->v4;
        return 0;
    }
    if (inet_pton(AF_INET6, text, &address->v6.sin6_addr) == 1) {
        address->v6.sin6_family = AF_INET6;
        address->v6.sin6_port = htons(options->port);
        *len = sizeof address->v6;
        return 0;
    }
    return -PARLEY_ERR_BAD_REQUEST;
}

static uint16_t port_of(const union any_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

static int open_socket(const struct listener_options *options, int *out, uint16_t *port)
{
    static const int on = 1, unsent_max = UNSENT_BYTES_MAX;
    union any_address address;
    socklen_t len;
    int err = parse_address(options, &address, &len);
    if (err)
        return err;
    int fd = socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -PARLEY_ERR_IO;
    err = -PARLEY_ERR_IO;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent_max, sizeof unsent_max) != 0) /* inherited */
        goto fail;
    if (bind(fd, &address.any, len) != 0 || listen(fd, BACKLOG) != 0) {
        err = errno == EADDRINUSE      ? -PARLEY_ERR_CONFLICT
              : errno == EADDRNOTAVAIL ? -PARLEY_ERR_BAD_REQUEST
                                       : -PARLEY_ERR_IO;
        goto fail;
    }
    if (getsockname(fd, &address.any, &len) != 0)
        goto fail;
    *port = port_of(&address);
    *out = fd;
    return 0;
fail:
    close(fd);
    return err;
}

/* A storm of refusals is one line in a while, with what was refused so far. */
static void tell_refusal(struct listener *listener, const char *limit)
{
    const struct listener_counters *c = &listener->counters;
    uint64_t now_ms = reactor_now_ms(listener->options.reactor);
    if (listener->told_ms && now_ms - listener->told_ms < TELL_EVERY_MS)
        return;
    listener->told_ms = now_ms;
    logger_line(LOGGER_WARN, "connections_refused", logger_text("limit", limit),
                logger_u64("open", listener->connection_count), logger_u64("refused_all", c->refused_cap),
                logger_u64("refused_address", c->refused_peer),
                logger_u64("refused_files", c->refused_files));
}

/* Without one a segment of the log cannot be made, which ends the process. */
static bool is_kept_for_files(int fd)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return false;
    rlim_t part = limit.rlim_cur / 4;
    return (rlim_t)fd >= limit.rlim_cur - (part < FILES_KEPT_MAX ? part : FILES_KEPT_MAX);
}

/* `fd` is the last one that was taken, or -1: then the reserve takes one client out of the queue, so that he sees a closed
 * connection and not a silent one; then accepting rests, because epoll would report the queue again at once. */
static void rest(struct listener *listener, int listen_fd, int fd)
{
    if (fd >= 0) {
        close(fd);
        listener->counters.refused_files++;
    } else if (listener->reserve_fd >= 0) {
        close(listener->reserve_fd);
        fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            close(fd);
            listener->counters.refused_files++;
        }
        listener->reserve_fd = open_reserve();
    }
    listener->counters.pauses++;
    tell_refusal(listener, "files");
    h2o_socket_read_stop(listener->socket);
    struct reactor *reactor = listener->options.reactor;
    timer_wheel_add(reactor_timers(reactor), &listener->pause, reactor_now_ms(reactor) + PAUSE_MS);
}

static void on_socket_closed(void *data)
{
    struct connection *connection = data;
    struct listener *listener = connection->listener;
    parley_assert(listener->magic == LISTENER_MAGIC && listener->connection_count > 0);
    listener->connection_count--;
    peer_table_give(listener->peers, connection->peer);
    memory_free(connection);
}

/* Counts it, or NULL. */
static struct connection *admit(struct listener *listener, const struct sockaddr *peer)
{
    const struct listener_options *o = &listener->options;
    if (listener->connection_count >= o->connection_count_max) {
        listener->counters.refused_cap++;
        tell_refusal(listener, "all");
        return NULL;
    }
    struct connection *connection = memory_alloc(sizeof *connection);
    if (!connection) { /* no room for one more is what the cap says, too */
        listener->counters.refused_cap++;
        return NULL;
    }
    *connection = (struct connection){listener, peer_key(peer)};
    if (!peer_table_take(listener->peers, connection->peer,
                         o->peer_connection_count_max ? o->peer_connection_count_max : UINT32_MAX)) {
        listener->counters.refused_peer++;
        tell_refusal(listener, "address");
        memory_free(connection);
        return NULL;
    }
    listener->connection_count++;
    listener->counters.accepted++;
    return connection;
}

/* What he has sent already is read: closed with it unread, the connection would be reset and the words lost. A client who
 * sends more right now may still see a reset; to wait for him would be to let him in. */
static void turn_away(const struct listener *listener, int fd)
{
    uint8_t forgotten[4096];
    const struct span words = listener->options.refusal;
    if (words.len)
        (void)!send(fd, words.data, words.len, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    (void)!recv(fd, forgotten, sizeof forgotten, MSG_DONTWAIT);
    close(fd);
}

static void take(struct listener *listener, int fd, const struct sockaddr *peer)
{
    static const int on = 1;
    struct connection *connection = admit(listener, peer);
    if (!connection) {
        turn_away(listener, fd);
        return;
    }
    /* Frames are batched by us; the kernel need not wait for more. A failure costs latency only. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    h2o_socket_t *socket = h2o_evloop_socket_create(reactor_loop(listener->options.reactor), fd,
                                                    H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION);
    socket->on_close.cb = on_socket_closed;
    socket->on_close.data = connection;
    listener->options.on_connection(listener->options.owner, socket, peer);
}

static void on_acceptable(h2o_socket_t *socket, const char *err)
{
    struct listener *listener = socket->data;
    (void)err;
    parley_assert(listener->magic == LISTENER_MAGIC);
    int listen_fd = h2o_socket_get_fd(socket);
    /* on_connection may stop the listener. */
    for (int i = 0; i < ACCEPT_COUNT_MAX && listener->socket; i++) {
        union any_address peer;
        socklen_t len = sizeof peer;
        /* Not h2o_evloop_socket_accept: it hides why it failed, and the address that a cap per peer needs. */
        int fd = accept4(listen_fd, &peer.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0 && is_kept_for_files(fd)) {
            rest(listener, listen_fd, fd);
            return;
        }
        if (fd >= 0) {
            take(listener, fd, &peer.any);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            rest(listener, listen_fd, -1);
            return;
        }
        /* Else a connection that died in the queue: the next may be well. */
    }
}

static void on_rested(struct wheel_timer *timer)
{
    struct listener *listener = (struct listener *)((char *)timer - offsetof(struct listener, pause));
    parley_assert(listener->magic == LISTENER_MAGIC && listener->socket);
    if (listener->reserve_fd < 0)
        listener->reserve_fd = open_reserve();
    h2o_socket_read_start(listener->socket, on_acceptable);
}

int listener_create(const struct listener_options *options, struct listener **out)
{
    parley_assert(options->reactor && options->on_connection);
    int fd = -1;
    struct listener *listener = memory_zalloc(sizeof *listener);
    if (!listener)
        return -PARLEY_ERR_NOMEM;
    listener->magic = LISTENER_MAGIC;
    listener->options = *options;
    int err = peer_table_create(options->connection_count_max, &listener->peers);
    if (!err)
        err = open_socket(options, &fd, &listener->port);
    if (err)
        goto fail;
    err = -PARLEY_ERR_IO;
    listener->reserve_fd = open_reserve();
    if (listener->reserve_fd < 0)
        goto fail;
    wheel_timer_init(&listener->pause, on_rested);
    listener->socket =
        h2o_evloop_socket_create(reactor_loop(options->reactor), fd, H2O_SOCKET_FLAG_DONT_READ);
    listener->socket->data = listener;
    h2o_socket_read_start(listener->socket, on_acceptable);
    *out = listener;
    return 0;
fail:
    if (fd >= 0)
        close(fd);
    peer_table_destroy(&listener->peers);
    memory_free(listener);
    return err;
}

void listener_stop(struct listener *listener)
{
    parley_assert(listener->magic == LISTENER_MAGIC);
    if (!listener->socket)
        return;
    timer_wheel_cancel(reactor_timers(listener->options.reactor), &listener->pause);
    h2o_socket_close(listener->socket);
    listener->socket = NULL;
}

void listener_destroy(struct listener **listener)
{
    if (!*listener)
        return;
    parley_assert((*listener)->connection_count == 0);
    listener_stop(*listener);
    peer_table_destroy(&(*listener)->peers);
    if ((*listener)->reserve_fd >= 0)
        close((*listener)->reserve_fd);
    (*listener)->magic = 0;
    memory_free(*listener);
    *listener = NULL;
}

uint16_t listener_port(const struct listener *listener)
{
    return listener->port;
}

uint32_t listener_connection_count(const struct listener *listener)
{
    return listener->connection_count;
}

void listener_counters_read(const struct listener *listener, struct listener_counters *out)
{
    *out = listener->counters;
}

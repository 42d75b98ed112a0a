#include "tools/client/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/error.h"

enum { READ_BYTES = 64 * 1024, STREAMS_MAX = 64, IDLE_S = 30, PROBE_S = 10, PROBE_COUNT = 3 };

/* A peer who vanished without a word is noticed by the kernel, within a minute. */
static void set_options(int fd)
{
    const int on = 1, idle = IDLE_S, probe = PROBE_S, count = PROBE_COUNT;
    const unsigned unheard_ms = (IDLE_S + PROBE_S * PROBE_COUNT) * 1000;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &probe, sizeof probe);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unheard_ms, sizeof unheard_ms);
}

static int connect_to(const struct addrinfo *to, uint64_t timeout_ms)
{
    int error = 0, fd = socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    socklen_t len = sizeof error;
    if (fd < 0)
        return -PARLEY_ERR_IO;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return fd;
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    if ((errno == EINPROGRESS || errno == EINTR) && poll(&poller, 1, (int)timeout_ms) == 1 &&
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
        return fd;
    close(fd);
    return -PARLEY_ERR_IO;
}

int stream_open(struct stream *s, const struct url *url, uint64_t timeout_ms)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int fd = -PARLEY_ERR_IO;
    parley_assert(!s->open);
    if (getaddrinfo(url->host, url->port, &hints, &list) != 0)
        return -PARLEY_ERR_IO;
    for (const struct addrinfo *at = list; at && fd < 0; at = at->ai_next)
        fd = connect_to(at, timeout_ms);
    freeaddrinfo(list);
    if (fd < 0)
        return fd;
    set_options(fd);
    s->fd = fd;
    s->open = true;
    return 0;
}

void stream_close(struct stream *s)
{
    if (s->open)
        close(s->fd);
    text_free(&s->in);
    text_free(&s->out);
    *s = (struct stream){0};
}

int stream_put(struct stream *s, const void *data, size_t len)
{
    if (s->out_from == s->out.len) {
        s->out_from = 0;
        text_clear(&s->out);
    }
    text_put(&s->out, data, len);
    return s->out.failed ? -PARLEY_ERR_NOMEM : 0;
}

static int write_some(struct stream *s)
{
    while (s->out_from < s->out.len) {
        ssize_t n = send(s->fd, s->out.data + s->out_from, s->out.len - s->out_from, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR ? -PARLEY_ERR_AGAIN : -PARLEY_ERR_IO;
        s->out_from += (size_t)n;
    }
    return 0;
}

static int read_some(struct stream *s)
{
    if (s->in_from) { /* what was taken makes room */
        memmove(s->in.data, s->in.data + s->in_from, s->in.len - s->in_from);
        s->in.len -= s->in_from;
        s->in_from = 0;
    }
    if (!text_reserve(&s->in, READ_BYTES))
        return -PARLEY_ERR_NOMEM;
    ssize_t n = recv(s->fd, s->in.data + s->in.len, s->in.room - s->in.len, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -PARLEY_ERR_AGAIN : -PARLEY_ERR_IO;
    s->in.len += (size_t)n;
    return n ? 0 : -PARLEY_ERR_END;
}

static int turn_of(struct stream *s, short events)
{
    int wrote = events & POLLOUT ? write_some(s) : -PARLEY_ERR_AGAIN;
    /* A peer who refuses to read may still have said why: what he said is read before the error counts. */
    int got =
        events & (POLLIN | POLLHUP | POLLERR) || wrote == -PARLEY_ERR_IO ? read_some(s) : -PARLEY_ERR_AGAIN;
    if (got != -PARLEY_ERR_AGAIN)
        return got;
    return wrote;
}

int stream_turn_all(struct stream *const *streams, int *errors, size_t count, uint64_t timeout_ms)
{
    struct pollfd pollers[STREAMS_MAX];
    parley_assert(count <= STREAMS_MAX);
    for (size_t i = 0; i < count; i++) {
        struct stream *s = streams[i];
        errors[i] = -PARLEY_ERR_AGAIN;
        pollers[i] = (struct pollfd){.fd = s->open ? s->fd : -1, .events = POLLIN};
        if (s->open && s->out_from < s->out.len)
            pollers[i].events |= POLLOUT;
    }
    int ready = poll(pollers, count, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);
    if (ready <= 0)
        return -PARLEY_ERR_AGAIN;
    for (size_t i = 0; i < count; i++)
        if (pollers[i].revents)
            errors[i] = turn_of(streams[i], pollers[i].revents);
    return 0;
}

int stream_turn(struct stream *s, uint64_t timeout_ms)
{
    int error = -PARLEY_ERR_AGAIN;
    int err = stream_turn_all(&s, &error, 1, timeout_ms);
    return err ? err : error;
}

uint8_t *stream_input(struct stream *s, size_t *len)
{
    *len = s->in.len - s->in_from;
    return s->in.data ? s->in.data + s->in_from : NULL;
}

void stream_take(struct stream *s, size_t len)
{
    parley_assert(len <= s->in.len - s->in_from);
    s->in_from += len;
}

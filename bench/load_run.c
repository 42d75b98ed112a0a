/* Connections and the loop: windowed or open. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"

enum {
    EVENTS_MAX = 256,
    BUFFER_BYTES_FIRST = 16384,
    ADDRESS_CONNECTIONS =
        5000, /* one address has 28,000 ports for one server, and servers bound each address */
};

/* From 127.0.0.1, 127.0.0.2 ... as the index grows. */
int load_connect(const struct load *l, uint32_t index)
{
    int on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->port)},
                       from = {.sin_family = AF_INET};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + index / ADDRESS_CONNECTIONS);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        load_die("socket");
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&from, sizeof from) != 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) != 0)
        load_die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

void load_write_all(int fd, const char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, text + at, len - at);
        if (n < 0)
            load_die("write");
        at += (size_t)n;
    }
}

void load_out_reserve(struct load_connection *c, size_t more)
{
    if (c->out_len + more <= c->out_room)
        return;
    c->out_room = 2 * c->out_room + more;
    c->out = load_need(realloc(c->out, c->out_room));
}

void load_open(struct load *l)
{
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->all = load_need(calloc(l->connections, sizeof *l->all));
    for (uint32_t i = 0; i < l->connections; i++) {
        struct load_connection *c = &l->all[i];
        c->fd = load_connect(l, i);
        if (l->protocol->open)
            l->protocol->open(l, c);
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
            load_die("fcntl");
        c->in_room = c->out_room = BUFFER_BYTES_FIRST;
        c->in = load_need(malloc(c->in_room));
        c->out = load_need(malloc(c->out_room));
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = i};
        if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
            load_die("epoll");
    }
}

void load_close(struct load *l)
{
    for (uint32_t i = 0; l->all && i < l->connections; i++) {
        close(l->all[i].fd);
        free(l->all[i].in);
        free(l->all[i].out);
    }
    free(l->all);
    close(l->epoll);
}

static void flush(struct load *l, struct load_connection *c)
{
    ssize_t n = c->out_len ? write(c->fd, c->out, c->out_len) : 0;
    if (n < 0 && errno != EAGAIN)
        load_die("write");
    if (n > 0) {
        memmove(c->out, c->out + n, c->out_len - (size_t)n);
        c->out_len -= (size_t)n;
    }
    bool wants = c->out_len > 0;
    if (wants == c->wants_write)
        return;
    c->wants_write = wants;
    struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0u), .data.u32 = (uint32_t)(c - l->all)};
    epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e);
}

static void put(struct load *l, struct load_connection *c, uint64_t due_ns)
{
    l->protocol->put(l, c, due_ns);
    c->under_way++;
}

/* Windowed: is there another one to send? */
static bool more(const struct load *l, uint64_t now)
{
    return l->rate == 0 && (l->target ? l->sent < l->target : now < l->end_ns);
}

static void answered(struct load *l, struct load_connection *c, const struct load_answer *answer,
                     uint64_t now)
{
    c->under_way--;
    if (answer->kind == LOAD_REFUSED) {
        l->refused += l->measuring;
        if (l->rate == 0) {
            c->owed++;
            l->owed++;
            c->owed_ns = now + answer->retry_ms * 1000000ull;
        }
        return;
    }
    if (l->measuring) {
        histogram_add(&l->latency_ns, now - answer->due_ns);
        l->received++;
        l->body_bytes_received += answer->body_bytes;
    }
    if (more(l, now))
        put(l, c, now);
}

static void receive(struct load *l, struct load_connection *c, uint64_t now)
{
    if (c->in_len == c->in_room) {
        c->in_room *= 2;
        c->in = load_need(realloc(c->in, c->in_room));
    }
    ssize_t n = read(c->fd, c->in + c->in_len, c->in_room - c->in_len);
    if (n == 0) {
        errno = 0;
        load_die("the server closed a connection");
    }
    if (n < 0 && errno != EAGAIN)
        load_die("read");
    if (n < 0)
        return;
    c->in_len += (size_t)n;
    size_t at = 0, took;
    struct load_answer answer = {0};
    while ((took = l->protocol->take(l, c, c->in + at, c->in_len - at, &answer)) != 0) {
        at += took;
        if (answer.kind != LOAD_NO_ANSWER)
            answered(l, c, &answer, now);
        answer = (struct load_answer){0};
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

/* Open loop: what became due since the last call, over the connections in turn. */
static void put_due(struct load *l, uint64_t start_ns, uint64_t *next, uint64_t now)
{
    parley_assert(l->connections > 0);
    for (; start_ns + (uint64_t)((double)*next * 1e9 / l->rate) <= now; ++*next) {
        struct load_connection *c = &l->all[*next % l->connections];
        if (c->under_way >= l->protocol->window_max) { /* the generator's own bound: counted, never hidden */
            l->skipped += l->measuring;
            continue;
        }
        put(l, c, start_ns + (uint64_t)((double)*next * 1e9 / l->rate));
        flush(l, c);
    }
}

/* What a busy server has refused, when it is time to come again. */
static void put_owed(struct load *l, uint64_t now)
{
    for (uint32_t i = 0; l->owed && i < l->connections; i++) {
        struct load_connection *c = &l->all[i];
        if (c->owed == 0 || now < c->owed_ns)
            continue;
        for (; c->owed; c->owed--, l->owed--)
            put(l, c, now);
        flush(l, c);
    }
}

void load_run(struct load *l, double seconds, bool measuring)
{
    uint64_t start = load_now_ns(), next = 0;
    l->measuring = measuring;
    l->end_ns = start + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < l->connections && l->rate == 0; i++) {
        struct load_connection *c = &l->all[i];
        while (c->under_way + c->owed < l->window && more(l, start))
            put(l, c, load_now_ns());
        flush(l, c);
    }
    for (uint64_t now = start; l->target ? l->received < l->target : now < l->end_ns; now = load_now_ns()) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, l->rate > 0 || l->owed ? 1 : 100);
        uint64_t at = load_now_ns();
        for (int i = 0; i < n; i++) {
            struct load_connection *c = &l->all[events[i].data.u32];
            if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                receive(l, c, at);
            flush(l, c);
        }
        if (l->owed)
            put_owed(l, at);
        if (l->rate > 0)
            put_due(l, start, &next, at);
    }
}

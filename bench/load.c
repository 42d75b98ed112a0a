/* load: the load generator. It sends chat messages (--conversations FILE --token T: each ack is durable), or drives the
 * WebSocket echo of `parleyd --http-test-endpoints true`, which is the ceiling of the door.
 *
 * windowed (--window N): each connection keeps N messages under way.
 * open loop (--rate N): messages are due at fixed times; latency counts from the time at which one was due, so that a
 * stalled server cannot hide its stall (coordinated omission).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/histogram.h"
#include "net/ws_frame.h"

enum {
    STAMP_HEX = 16,
    ID_HEX = 32,
    JSON_BYTES = 256,
    EVENTS_MAX = 256,
    INPUT_BYTES = 1 << 18,
    WINDOW_MAX = 4096,
    BODY_BYTES_MAX = 60000,
    STAMP_BYTES = 8
};

struct connection {
    int fd;
    uint32_t under_way;
    uint8_t *out;
    size_t out_len, out_room;
    uint8_t *in;
    size_t in_len;
    bool wants_write;
};

struct load {
    const char *path;
    uint16_t port;
    uint32_t connections, window, body_bytes;
    double seconds, rate;
    long server_pid;
    bool json;
    int epoll;
    struct connection *all;
    const char *token;
    char (*ids)[ID_HEX + 1]; /* conversations; none: echo */
    uint32_t id_count;
    struct histogram latency_ns;
    uint64_t received, sent, skipped, end_ns;
    bool measuring;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
    exit(1);
}

static void *need(void *p)
{
    if (!p)
        die("memory");
    return p;
}

/* User and system time of the process, in ns; 0 when there is no pid. */
static uint64_t server_cpu_ns(long pid)
{
    char path[64], line[1024];
    unsigned long user = 0, sys = 0;
    if (pid <= 0)
        return 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    char *after = fgets(line, sizeof line, f) ? strrchr(line, ')') : NULL;
    fclose(f);
    if (!after || sscanf(after + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys) != 2)
        die("reading the server's CPU time");
    return (user + sys) * (1000000000u / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void upgrade(struct load *l, struct connection *c)
{
    char head[4096], answer[1024];
    int n = snprintf(head, sizeof head,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                     "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                     "%s%s\r\n\r\n",
                     l->path, l->token ? "Authorization: Bearer " : "X-Load: 1", l->token ? l->token : "");
    if (write(c->fd, head, (size_t)n) != n)
        die("upgrade");
    size_t got = 0;
    while (got < 4 || memcmp(answer + got - 4, "\r\n\r\n", 4) != 0) {
        if (got == sizeof answer || read(c->fd, answer + got, 1) != 1)
            die("upgrade");
        got++;
    }
    errno = 0;
    if (memcmp(answer, "HTTP/1.1 101", 12) != 0)
        die("upgrade");
}

static void open_connection(struct load *l, struct connection *c, uint32_t index)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(l->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0)
        die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    upgrade(l, c);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    c->in = need(malloc(INPUT_BYTES));
    c->out_room = (size_t)WINDOW_MAX * 4;
    c->out = need(malloc(c->out_room));
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = index};
    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) != 0)
        die("epoll");
}

/* A chat message: its client id begins with the time, as 16 hexadecimal digits, and the ack repeats it. */
static struct span chat_message(const struct load *l, uint64_t due_ns)
{
    static char text[JSON_BYTES + BODY_BYTES_MAX];
    static char body[BODY_BYTES_MAX + 1];
    if (!body[0])
        memset(body, 'x', sizeof body - 1);
    int n = snprintf(
        text, sizeof text,
        "{\"type\":\"send\",\"conversation\":\"%s\",\"client_msg_id\":\"%016llx-%llx\",\"body\":\"%.*s\"}",
        l->ids[l->sent % l->id_count], (unsigned long long)due_ns, (unsigned long long)l->sent,
        (int)l->body_bytes, body);
    return (struct span){(const uint8_t *)text, (size_t)n};
}

/* The time that an answer carries. */
static uint64_t stamp_of(const struct load *l, const uint8_t *payload, size_t len)
{
    static const char ack[] = "{\"type\":\"ack\",\"client_msg_id\":\"";
    uint64_t due = 0;
    if (!l->id_count) {
        memcpy(&due, payload, STAMP_BYTES);
        return due;
    }
    errno = 0;
    if (len < sizeof ack + STAMP_HEX || memcmp(payload, ack, sizeof ack - 1) != 0) {
        fprintf(stderr, "load: not an ack: %.*s\n", (int)len, (const char *)payload);
        exit(1);
    }
    for (size_t i = sizeof ack - 1; i < sizeof ack - 1 + STAMP_HEX; i++)
        due = due << 4 | (uint64_t)(payload[i] <= '9' ? payload[i] - '0' : payload[i] - 'a' + 10);
    return due;
}

/* One message: the first 8 bytes are the time from which its latency counts. */
static void put_message(struct load *l, struct connection *c, uint64_t due_ns)
{
    static uint8_t body[BODY_BYTES_MAX];
    static const uint8_t mask[4] = {0x12, 0x34, 0x56, 0x78};
    size_t need_bytes = JSON_BYTES + l->body_bytes + WS_HEAD_BYTES_MAX;
    if (c->out_len + need_bytes > c->out_room) {
        c->out_room = 2 * c->out_room + need_bytes;
        c->out = need(realloc(c->out, c->out_room));
    }
    memcpy(body, &due_ns, STAMP_BYTES);
    struct span payload = l->id_count ? chat_message(l, due_ns) : (struct span){body, l->body_bytes};
    c->out_len +=
        ws_frame_encode_masked(c->out + c->out_len, l->id_count ? WS_TEXT : WS_BINARY, true, payload, mask);
    c->under_way++;
    l->sent++;
}

static void flush(struct load *l, struct connection *c, uint32_t index)
{
    ssize_t n = c->out_len ? write(c->fd, c->out, c->out_len) : 0;
    if (n < 0 && errno != EAGAIN)
        die("write");
    if (n > 0) {
        memmove(c->out, c->out + n, c->out_len - (size_t)n);
        c->out_len -= (size_t)n;
    }
    bool wants = c->out_len > 0;
    if (wants == c->wants_write)
        return;
    c->wants_write = wants;
    struct epoll_event e = {.events = EPOLLIN | (wants ? EPOLLOUT : 0u), .data.u32 = index};
    epoll_ctl(l->epoll, EPOLL_CTL_MOD, c->fd, &e);
}

/* Length of the server's frame at the front, head included; 0 when it is not whole. */
static size_t whole_frame(const uint8_t *p, size_t len, size_t *head)
{
    if (len < 2)
        return 0;
    if ((p[0] & 0x0f) == WS_CLOSE) {
        errno = 0;
        die("the server closed");
    }
    size_t payload = p[1] & 0x7f;
    *head = payload == 126 ? 4 : payload == 127 ? 10 : 2;
    if (len < *head)
        return 0;
    if (payload >= 126) {
        payload = 0;
        for (size_t i = 2; i < *head; i++)
            payload = payload << 8 | p[i];
    }
    return len - *head >= payload ? *head + payload : 0;
}

/* The server's greeting and its pings. */
static bool is_no_answer(const struct load *l, const uint8_t *frame, size_t len, size_t head)
{
    static const char hello[] = "{\"type\":\"hello\"";
    return (frame[0] & 0x0f) == WS_PING || (l->id_count && len - head >= sizeof hello - 1 &&
                                            memcmp(frame + head, hello, sizeof hello - 1) == 0);
}

static void receive(struct load *l, struct connection *c, uint64_t now)
{
    ssize_t n = read(c->fd, c->in + c->in_len, INPUT_BYTES - c->in_len);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("read");
    if (n < 0)
        return;
    c->in_len += (size_t)n;
    size_t at = 0, head, took;
    while ((took = whole_frame(c->in + at, c->in_len - at, &head)) != 0) {
        if (is_no_answer(l, c->in + at, took, head)) {
            at += took;
            continue;
        }
        uint64_t due = stamp_of(l, c->in + at + head, took - head);
        if (l->measuring) {
            histogram_add(&l->latency_ns, now - due);
            l->received++;
        }
        c->under_way--;
        if (l->rate == 0 && now < l->end_ns)
            put_message(l, c, now);
        at += took;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

/* Open loop: what became due since the last call, over the connections in turn. */
static void put_due(struct load *l, uint64_t start_ns, uint64_t *next, uint64_t now)
{
    for (; start_ns + (uint64_t)((double)*next * 1e9 / l->rate) <= now; ++*next) {
        uint32_t index = (uint32_t)(*next % l->connections);
        struct connection *c = &l->all[index];
        if (c->under_way >= WINDOW_MAX) { /* the generator's own bound: counted, never hidden */
            l->skipped++;
            continue;
        }
        put_message(l, c, start_ns + (uint64_t)((double)*next * 1e9 / l->rate));
        flush(l, c, index);
    }
}

static void run(struct load *l, double seconds, bool measuring)
{
    uint64_t start = now_ns(), next = 0;
    l->measuring = measuring;
    l->end_ns = start + (uint64_t)(seconds * 1e9);
    for (uint32_t i = 0; i < l->connections && l->rate == 0; i++) {
        while (l->all[i].under_way < l->window)
            put_message(l, &l->all[i], now_ns());
        flush(l, &l->all[i], i);
    }
    for (uint64_t now = start; now < l->end_ns; now = now_ns()) {
        struct epoll_event events[EVENTS_MAX];
        int n = epoll_wait(l->epoll, events, EVENTS_MAX, l->rate > 0 ? 1 : 100);
        uint64_t at = now_ns();
        for (int i = 0; i < n; i++) {
            struct connection *c = &l->all[events[i].data.u32];
            if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                receive(l, c, at);
            flush(l, c, events[i].data.u32);
        }
        if (l->rate > 0)
            put_due(l, start, &next, at);
    }
}

static void report(const struct load *l, double seconds, uint64_t cpu_ns)
{
    const double us = 1e3;
    double rate = (double)l->received / seconds,
           cpu = l->received ? (double)cpu_ns / (double)l->received / us : 0;
    double p50 = (double)histogram_at(&l->latency_ns, .5) / us,
           p99 = (double)histogram_at(&l->latency_ns, .99) / us;
    double p999 = (double)histogram_at(&l->latency_ns, .999) / us, max = (double)l->latency_ns.max / us;
    if (l->json)
        printf("{\"messages_per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,"
               "\"server_cpu_us_per_message\":%.3f,\"skipped\":%llu}\n",
               rate, p50, p99, p999, max, cpu, (unsigned long long)l->skipped);
    else
        printf("messages/s\tp50 us\tp99 us\tp99.9 us\tmax us\tserver CPU us/message\tskipped\n"
               "%.0f\t\t%.0f\t%.0f\t%.0f\t\t%.0f\t%.2f\t\t\t%llu\n",
               rate, p50, p99, p999, max, cpu, (unsigned long long)l->skipped);
}

/* One id a line. */
static void read_ids(struct load *l, const char *path)
{
    FILE *f = fopen(path, "r");
    if (!f)
        die(path);
    char line[ID_HEX + 8];
    while (fgets(line, sizeof line, f)) {
        if (strspn(line, "0123456789abcdef") != ID_HEX)
            continue;
        l->ids = need(realloc(l->ids, (l->id_count + 1) * sizeof *l->ids));
        memcpy(l->ids[l->id_count], line, ID_HEX);
        l->ids[l->id_count++][ID_HEX] = '\0';
    }
    fclose(f);
    errno = 0;
    if (!l->id_count)
        die("reading conversation ids");
    l->path = "/v1/ws?live=false"; /* acks are measured: what the others say is not asked for */
}

static const char help[] =
    "load: drives a parleyd that runs on this machine with --http-test-endpoints true.\n"
    "\n"
    "  --port N         the server's                       (8080)\n"
    "  --pid N          the server's, to report its CPU time\n"
    "  --connections N                                     (64)\n"
    "  --window N       messages under way on each         (16)\n"
    "  --rate N         open loop: messages/s in all, instead of a window\n"
    "  --body N         bytes of a message, 8 to 60000     (200)\n"
    "  --seconds N      after one of warming up            (5)\n"
    "  --conversations FILE   send chat messages to these (an id a line) instead of the echo,\n"
    "  --token T              as this token's user\n"
    "  --json\n";

static bool parse(struct load *l, int argc, char **argv)
{
    static const struct option flags[] = {
        {"port", required_argument, NULL, 'p'},
        {"pid", required_argument, NULL, 'i'},
        {"connections", required_argument, NULL, 'c'},
        {"window", required_argument, NULL, 'w'},
        {"rate", required_argument, NULL, 'r'},
        {"body", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'},
        {"json", no_argument, NULL, 'j'},
        {"conversations", required_argument, NULL, 'f'},
        {"token", required_argument, NULL, 't'},
        {0},
    };
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;) {
        double v = optarg ? strtod(optarg, NULL) : 0;
        switch (c) {
        case 'p':
            l->port = (uint16_t)v;
            break;
        case 'i':
            l->server_pid = (long)v;
            break;
        case 'c':
            l->connections = (uint32_t)v;
            break;
        case 'w':
            l->window = (uint32_t)v;
            break;
        case 'r':
            l->rate = v;
            break;
        case 'b':
            l->body_bytes = (uint32_t)v;
            break;
        case 's':
            l->seconds = v;
            break;
        case 'f':
            read_ids(l, optarg);
            break;
        case 't':
            l->token = optarg;
            break;
        case 'j':
            l->json = true;
            break;
        default:
            return false;
        }
    }
    return optind == argc && l->connections > 0 && l->window > 0 && l->window <= WINDOW_MAX && l->rate >= 0 &&
           l->body_bytes >= STAMP_BYTES && l->body_bytes <= BODY_BYTES_MAX && l->seconds > 0;
}

int main(int argc, char **argv)
{
    struct load *l = need(calloc(1, sizeof *l));
    *l = (struct load){
        .path = "/test/ws-echo", .port = 8080, .connections = 64, .window = 16, .body_bytes = 200};
    l->seconds = 5;
    if (!parse(l, argc, argv)) {
        fputs(help, stderr);
        return 2;
    }
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    l->all = need(calloc(l->connections, sizeof *l->all));
    for (uint32_t i = 0; i < l->connections; i++)
        open_connection(l, &l->all[i], i);
    run(l, 1, false);
    uint64_t cpu = server_cpu_ns(l->server_pid), began = now_ns();
    run(l, l->seconds, true);
    double seconds = (double)(now_ns() - began) / 1e9;
    report(l, seconds, server_cpu_ns(l->server_pid) - cpu);
    for (uint32_t i = 0; i < l->connections; i++) {
        close(l->all[i].fd);
        free(l->all[i].in);
        free(l->all[i].out);
    }
    close(l->epoll);
    free(l->ids);
    free(l->all);
    free(l);
    return 0;
}

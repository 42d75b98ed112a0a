/* Idle WebSockets: what each costs the server in memory. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/load.h"
#include "bench/process.h"
#include "net/ws_frame.h"

enum {
    STEP_MS = 500,
    QUIET_STEPS = 8, /* so long without a change */
    STEPS_MAX = 120, /* a minute; the allocator gives pages back within ten seconds */
    QUIET_BYTES = 32 << 10,
    READ_BYTES = 4096,
};

struct idle {
    struct load *load;
    int *fds;
    uint32_t open_count;
};

/* Reads what came and answers pings. Greetings and pings are small and come whole. */
static void listen_to(int fd)
{
    static const uint8_t mask[4];
    uint8_t in[READ_BYTES], out[WS_HEAD_BYTES_MAX + WS_CONTROL_PAYLOAD_BYTES_MAX];
    ssize_t n = recv(fd, in, sizeof in, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        errno = 0;
        load_die("the server closed an idle connection");
    }
    size_t at = 0, head, took;
    while (n > 0 && (took = load_ws_frame(in + at, (size_t)n - at, &head)) != 0) {
        if ((in[at] & 0x0f) == WS_PING && took - head <= WS_CONTROL_PAYLOAD_BYTES_MAX) {
            size_t len =
                ws_frame_encode_masked(out, WS_PONG, true, (struct span){in + at + head, took - head}, mask);
            load_write_all(fd, (const char *)out, len);
        }
        at += took;
    }
}

static void wait_step(const struct idle *idle)
{
    usleep(STEP_MS * 1000);
    for (uint32_t i = 0; i < idle->open_count; i++)
        listen_to(idle->fds[i]);
}

/* The server's memory when it no longer changes. */
static struct process_memory settle(const struct idle *idle)
{
    struct process_memory last = {0}, now = {0};
    int quiet = 0;
    for (int step = 0; step < STEPS_MAX && quiet < QUIET_STEPS; step++) {
        wait_step(idle);
        if (!process_memory(idle->load->server_pid, &now))
            load_die("reading the server's memory (give --pid)");
        uint64_t change = now.anonymous_bytes > last.anonymous_bytes
                              ? now.anonymous_bytes - last.anonymous_bytes
                              : last.anonymous_bytes - now.anonymous_bytes;
        quiet = change <= QUIET_BYTES ? quiet + 1 : 0;
        if (change > QUIET_BYTES)
            last = now;
    }
    return now;
}

static void open_one(struct idle *idle)
{
    char token[LOAD_TOKEN_BYTES], user[32];
    struct load *l = idle->load;
    uint32_t i = idle->open_count;
    snprintf(user, sizeof user, "idle-%u", i);
    if (l->data_dir)
        load_mint(l, user, token);
    int fd = load_connect(l, i);
    load_ws_upgrade(fd, "/v1/ws", l->data_dir ? token : l->token);
    idle->fds[idle->open_count++] = fd;
}

static void print(const struct load *l, const struct process_memory *before,
                  const struct process_memory *after)
{
    const struct {
        const char *name;
        uint64_t before, after;
    } rows[] = {{"anonymous", before->anonymous_bytes, after->anonymous_bytes},
                {"private_dirty", before->private_dirty_bytes, after->private_dirty_bytes},
                {"rss", before->rss_bytes, after->rss_bytes}};
    if (l->json)
        printf("{\"connections\":%u", l->idle);
    else
        printf("%-16s%12s%12s%20s\n", "memory", "before KiB", "after KiB", "bytes/connection");
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(rows); i++) {
        double each = ((double)rows[i].after - (double)rows[i].before) / l->idle;
        unsigned long long from = rows[i].before >> 10, to = rows[i].after >> 10;
        if (l->json)
            printf(",\"%s_before_kib\":%llu,\"%s_after_kib\":%llu,\"%s_bytes_per_connection\":%.1f",
                   rows[i].name, from, rows[i].name, to, rows[i].name, each);
        else
            printf("%-16s%12llu%12llu%20.0f\n", rows[i].name, from, to, each);
    }
    fputs(l->json ? "}\n" : "", stdout);
    (void)fflush(stdout);
}

void load_idle(struct load *l)
{
    struct idle idle = {.load = l, .fds = load_need(calloc(l->idle, sizeof *idle.fds))};
    struct process_memory before = settle(&idle);
    for (uint32_t i = 0; i < l->idle; i++)
        open_one(&idle);
    struct process_memory after = settle(&idle);
    print(l, &before, &after);
    for (uint64_t end = load_now_ns() + (uint64_t)(l->seconds * 1e9); load_now_ns() < end;)
        wait_step(&idle);
    for (uint32_t i = 0; i < idle.open_count; i++)
        close(idle.fds[i]);
    free(idle.fds);
}

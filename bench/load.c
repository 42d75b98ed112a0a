/* load: the load generator. It sends chat messages (--conversations FILE: each ack is durable), drives the WebSocket
 * echo, which is the ceiling of the door, GETs paths, makes conversations, or holds idle WebSockets.
 *
 * windowed (--window N): each connection keeps N messages under way.
 * open loop (--rate N): messages are due at fixed times; latency counts from the time at which one was due, so that a
 * stalled server cannot hide its stall (coordinated omission).
 */
#include "bench/load.h"

#include <errno.h>
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/process.h"
#include "net/jwt.h"
#include "src/base/clock.h"
#include "src/server/secret.h"

enum { STAMP_BYTES = 8, LINE_BYTES = 1024, TOKEN_LIFETIME_S = 86400 };

uint64_t load_now_ns(void)
{
    return clock_monotonic_ns(clock_real());
}

_Noreturn void load_die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
    exit(1);
}

void *load_need(void *p)
{
    if (!p)
        load_die("memory");
    return p;
}

void load_mint(const struct load *l, const char *user, char out[LOAD_TOKEN_BYTES])
{
    static struct jwt_key key;
    static bool has_key;
    struct jwt_claims claims = {.exp_s = clock_wall_ms(clock_real()) / 1000 + TOKEN_LIFETIME_S};
    size_t len = strlen(user);
    _Static_assert((int)LOAD_TOKEN_BYTES > (int)JWT_TOKEN_BYTES_MAX, "a token and its zero fit");
    errno = 0;
    if (!has_key && (secret_read(l->data_dir, &key) != 0 || !key.can_mint))
        load_die("reading the secret in the data folder");
    has_key = true;
    parley_assert(len <= sizeof claims.sub);
    memcpy(claims.sub, user, len);
    claims.sub_len = (uint16_t)len;
    if (jwt_mint(&key, &claims, out, &len) != 0)
        load_die("minting a token");
    out[len] = '\0';
}

static uint64_t server_cpu_ns(const struct load *l)
{
    uint64_t ns = 0;
    if (l->server_pid > 0 && !process_cpu_ns(l->server_pid, &ns))
        load_die("reading the server's CPU time");
    return ns;
}

static uint64_t own_cpu_ns(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (uint64_t)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000u;
}

static void report(const struct load *l, double seconds, uint64_t cpu_ns, uint64_t load_cpu_ns)
{
    const double us = 1e3, count = l->received ? (double)l->received : 1;
    const struct histogram *h = &l->latency_ns;
    double rate = (double)l->received / seconds, cpu = (double)cpu_ns / count / us,
           own = (double)load_cpu_ns / count / us, bytes = (double)l->body_bytes_received / count,
           p50 = (double)histogram_at(h, .5) / us, p99 = (double)histogram_at(h, .99) / us,
           p999 = (double)histogram_at(h, .999) / us, max = (double)h->max / us;
    if (l->json)
        printf("{\"unit\":\"%s\",\"per_s\":%.0f,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%"
               ".1f,"
               "\"server_cpu_us\":%.3f,\"load_cpu_us\":%.3f,\"answer_bytes\":%.0f,\"count\":%llu,"
               "\"refused\":%llu,\"skipped\":%llu}\n",
               l->protocol->unit, rate, p50, p99, p999, max, cpu, own, bytes, (unsigned long long)l->received,
               (unsigned long long)l->refused, (unsigned long long)l->skipped);
    else
        printf("%15s/s%10s%10s%10s%10s%15s%13s%14s%10s%10s\n"
               "%17.0f%10.0f%10.0f%10.0f%10.0f%15.2f%13.2f%14.0f%10llu%10llu\n",
               l->protocol->unit, "p50 us", "p99 us", "p99.9 us", "max us", "server CPU us", "load CPU us",
               "bytes/answer", "refused", "skipped", rate, p50, p99, p999, max, cpu, own, bytes,
               (unsigned long long)l->refused, (unsigned long long)l->skipped);
}

/* Without its end; NULL at the end of the file. */
static char *read_line(FILE *f, char line[LINE_BYTES])
{
    if (!fgets(line, LINE_BYTES, f))
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);
    if (!f)
        load_die(path);
    return f;
}

/* One id a line. */
static void read_ids(struct load *l, const char *path)
{
    char line[LINE_BYTES];
    FILE *f = open_file(path, "re");
    while (read_line(f, line)) {
        if (strlen(line) != LOAD_ID_HEX || strspn(line, "0123456789abcdef") != LOAD_ID_HEX)
            continue;
        if (l->id_count == l->id_room) {
            l->id_room = 2 * l->id_room + 1024;
            l->ids = load_need(realloc(l->ids, l->id_room * sizeof *l->ids));
        }
        memcpy(l->ids[l->id_count++], line, LOAD_ID_HEX + 1);
    }
    fclose(f);
    errno = 0;
    if (!l->id_count)
        load_die("reading conversation ids");
    l->protocol = &load_chat;
}

static void read_paths(struct load *l, const char *path)
{
    char line[LINE_BYTES];
    FILE *f = open_file(path, "re");
    while (read_line(f, line))
        if (*line)
            load_paths_add(l, line);
    fclose(f);
}

static void write_ids(const struct load *l)
{
    FILE *f = open_file(l->ids_path, "we");
    for (uint32_t i = 0; i < l->id_count; i++)
        fprintf(f, "%s\n", l->ids[i]);
    if (fclose(f) != 0)
        load_die(l->ids_path);
}

static const char help[] =
    "load: drives a parleyd on this machine's loopback.\n"
    "\n"
    "  --port N         the server's                       (8080)\n"
    "  --pid N          the server's, to report its CPU time and memory\n"
    "  --connections N                                     (64)\n"
    "  --window N       messages under way on each         (16; one over HTTP)\n"
    "  --rate N         open loop: so many a second in all, instead of a window\n"
    "  --body N         bytes of a message, 8 to 60000     (200)\n"
    "  --seconds N      after one of warming up            (5)\n"
    "  --count N        end after so many, without warming up, instead of --seconds\n"
    "  --token T        whose token; or\n"
    "  --data DIR       the server's data folder: tokens are minted with its secret\n"
    "  --json\n"
    "  --help\n"
    "\n"
    "What it does; without any of these, the echo of a server with --http-test-endpoints true:\n"
    "  --conversations FILE   send chat messages to these, an id a line\n"
    "  --get PATH             HTTP GET, again and again; may be repeated\n"
    "  --paths FILE           the same, a path a line\n"
    "  --create N             make N groups of two, and write their ids to\n"
    "  --ids FILE\n"
    "  --idle N               hold N WebSockets that say nothing, tell what each costs, hold on for "
    "--seconds\n";

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
    {"data", required_argument, NULL, 'd'},
    {"get", required_argument, NULL, 'g'},
    {"paths", required_argument, NULL, 'G'},
    {"create", required_argument, NULL, 'n'},
    {"ids", required_argument, NULL, 'o'},
    {"idle", required_argument, NULL, 'I'},
    {"count", required_argument, NULL, 'k'},
    {"help", no_argument, NULL, 'h'},
    {0},
};

static bool take_number(struct load *l, int flag, const char *text)
{
    char *end;
    double v = strtod(text, &end);
    if (*end || end == text || v < 0)
        return false;
    if (flag == 'p')
        l->port = (uint16_t)v;
    else if (flag == 'i')
        l->server_pid = (long)v;
    else if (flag == 'c')
        l->connections = (uint32_t)v;
    else if (flag == 'w')
        l->window = (uint32_t)v;
    else if (flag == 'r')
        l->rate = v;
    else if (flag == 'b')
        l->body_bytes = (uint32_t)v;
    else if (flag == 's')
        l->seconds = v;
    else if (flag == 'n')
        l->create = l->target = (uint64_t)v;
    else if (flag == 'k')
        l->target = (uint64_t)v;
    else if (flag == 'I')
        l->idle = (uint32_t)v;
    else
        return false;
    return true;
}

static bool take_flag(struct load *l, int flag, char *text)
{
    switch (flag) {
    case 'h':
        fputs(help, stdout);
        exit(EXIT_SUCCESS);
    case 'j':
        l->json = true;
        return true;
    case 'f':
        read_ids(l, text);
        return true;
    case 't':
        snprintf(l->token, sizeof l->token, "%s", text);
        return strlen(text) < sizeof l->token;
    case 'd':
        l->data_dir = text;
        return true;
    case 'g':
        load_paths_add(l, text);
        return true;
    case 'G':
        read_paths(l, text);
        return true;
    case 'o':
        l->ids_path = text;
        return true;
    default:
        return text && take_number(l, flag, text);
    }
}

static bool parse(struct load *l, int argc, char **argv)
{
    for (int c; (c = getopt_long(argc, argv, "", flags, NULL)) != -1;)
        if (!take_flag(l, c, optarg))
            return false;
    if (l->path_count)
        l->protocol = &load_get;
    if (l->create) {
        l->protocol = &load_create;
        l->target = l->create;
        l->id_count = (uint32_t)l->create;
        l->ids = load_need(calloc(l->create, sizeof *l->ids));
    }
    if (l->window > l->protocol->window_max)
        l->window = l->protocol->window_max;
    return optind == argc && l->connections > 0 && l->window > 0 && l->body_bytes >= STAMP_BYTES &&
           l->body_bytes <= LOAD_BODY_BYTES_MAX && l->seconds > 0 &&
           (l->create == 0) == (l->ids_path == NULL) && !(l->target && l->rate > 0);
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* too few are told by socket() */
}

static void measure(struct load *l)
{
    load_open(l);
    if (!l->target) /* what is counted, not timed, has no warming up */
        load_run(l, 1, false);
    uint64_t cpu = server_cpu_ns(l), own = own_cpu_ns(), began = load_now_ns();
    load_run(l, l->seconds, true);
    double seconds = (double)(load_now_ns() - began) / 1e9;
    report(l, seconds, server_cpu_ns(l) - cpu, own_cpu_ns() - own);
    if (l->create)
        write_ids(l);
    load_close(l);
}

int main(int argc, char **argv)
{
    struct load *l = load_need(calloc(1, sizeof *l));
    *l = (struct load){
        .protocol = &load_echo, .port = 8080, .connections = 64, .window = 16, .body_bytes = 200};
    l->seconds = 5;
    if (sodium_init() < 0 || !parse(l, argc, argv)) {
        fputs(help, stderr);
        free(l);
        return 2;
    }
    allow_descriptors();
    if (l->data_dir && !*l->token)
        load_mint(l, "ann", l->token);
    if (l->idle)
        load_idle(l);
    else
        measure(l);
    for (uint32_t i = 0; i < l->path_count; i++)
        free(l->paths[i]);
    free(l->paths);
    free(l->ids);
    free(l);
    return 0;
}

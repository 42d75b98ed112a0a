/* parleyd: the server. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/error.h"
#include "src/server/server.h"

enum { EXIT_USAGE = 2 };

static const char help[] =
    "parleyd: a message store and chat server.\n"
    "\n"
    "  parleyd [--data DIR] [--port N] ...\n"
    "\n"
    "  --data DIR          where everything is kept; made when absent   (data)\n"
    "  --address ADDRESS   numeric address to listen on                 (127.0.0.1)\n"
    "  --port N            0 chooses a free one                         (8080)\n"
    "  --reactors N        threads that serve; 0: one a core            (0)\n"
    "  --shards N          parts that the data is kept in; frozen when the folder is made, so choose\n"
    "                      for the largest machine that you foresee; 0: one a core          (0)\n"
    "  --connections N     open connections at most                     (100000)\n"
    "  --drain-ms N        how long clients may take to leave           (5000)\n"
    "  --test-endpoints    /test/http-echo and /test/ws-echo, for conformance suites\n"
    "  --help\n"
    "\n"
    "It prints its address when it is ready, and stops on SIGTERM or Ctrl-C.\n"
    "Try:  parleyd --data /tmp/parley &  curl http://127.0.0.1:8080/ready\n";

static bool number(const char *flag, const char *value, uint32_t max, uint32_t *out)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(value, &end, 10);
    if (errno || *end || end == value || *value == '-' || v > max) {
        fprintf(stderr, "parleyd: --%s takes a whole number from 0 to %u, not '%s'\n", flag, max, value);
        return false;
    }
    *out = (uint32_t)v;
    return true;
}

static const struct option flags[] = {
    {"data", required_argument, NULL, 'd'},     {"address", required_argument, NULL, 'a'},
    {"port", required_argument, NULL, 'p'},     {"reactors", required_argument, NULL, 'r'},
    {"shards", required_argument, NULL, 's'},   {"connections", required_argument, NULL, 'c'},
    {"drain-ms", required_argument, NULL, 'w'}, {"test-endpoints", no_argument, NULL, 't'},
    {"help", no_argument, NULL, 'h'},           {0},
};

static bool take_flag(int c, const char *value, struct server_options *o, uint32_t *port)
{
    switch (c) {
    case 'd':
        o->data_dir = value;
        return true;
    case 'a':
        o->address = value;
        return true;
    case 'p':
        return number("port", value, UINT16_MAX, port);
    case 'r':
        return number("reactors", value, SERVER_REACTOR_COUNT_MAX, &o->reactor_count);
    case 's':
        return number("shards", value, 1024, &o->shard_count);
    case 'c':
        return number("connections", value, 10000000, &o->connection_count_max);
    case 'w':
        return number("drain-ms", value, 3600000, &o->drain_ms);
    case 't':
        o->test_endpoints = true;
        return true;
    default:
        fputs("parleyd: see 'parleyd --help'\n", stderr);
        return false;
    }
}

/* Blocked in every thread, so that only sigwait takes them; a broken connection is an error of its write. */
static void block_signals(sigset_t *stop)
{
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(stop);
    sigaddset(stop, SIGTERM);
    sigaddset(stop, SIGINT);
    parley_assert(pthread_sigmask(SIG_BLOCK, stop, NULL) == 0);
}

int main(int argc, char **argv)
{
    struct server_options options = {
        .data_dir = "data", .address = "127.0.0.1", .connection_count_max = 100000, .drain_ms = 5000};
    uint32_t port = 8080;
    for (int c; (c = getopt_long(argc, argv, "h", flags, NULL)) != -1;) {
        if (c == 'h') {
            fputs(help, stdout);
            return EXIT_SUCCESS;
        }
        if (!take_flag(c, optarg, &options, &port))
            return EXIT_USAGE;
    }
    if (optind != argc) {
        fprintf(stderr, "parleyd: '%s' is not a flag; see 'parleyd --help'\n", argv[optind]);
        return EXIT_USAGE;
    }
    options.port = (uint16_t)port;

    sigset_t stop;
    int got;
    block_signals(&stop);
    struct server *server;
    char text[SERVER_TEXT_BYTES];
    if (server_start(&options, &server, text) != 0) {
        fprintf(stderr, "parleyd: %s\n", text);
        return EXIT_FAILURE;
    }
    printf("parleyd is ready at http://%s:%u (%u reactors, %u shards, data in %s)\n", options.address,
           server_port(server), server_reactor_count(server), server_shard_count(server), options.data_dir);
    fflush(stdout);
    parley_assert(sigwait(&stop, &got) == 0);
    int err = server_stop(&server);
    if (err)
        fprintf(stderr, "parleyd: stopped by an error: %s\n", parley_err_text(err));
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* parleyd: the server. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/server/config.h"
#include "src/server/server.h"

enum { EXIT_USAGE = 2 };

/* Blocked in every thread, so that only sigwait takes them; a broken connection is an error of its write. */
static void block_signals(sigset_t *stop)
{
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(stop);
    sigaddset(stop, SIGTERM);
    sigaddset(stop, SIGINT);
    sigaddset(stop, SIGUSR1);
    parley_assert(pthread_sigmask(SIG_BLOCK, stop, NULL) == 0);
}

/* What the whole life took. Device bytes as the kernel counts them, in blocks of 512. */
static void log_usage(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0)
        return;
    logger_line(LOGGER_INFO, "server_stopped",
                logger_u64("device_write_bytes", (uint64_t)usage.ru_oublock * 512),
                logger_u64("device_read_bytes", (uint64_t)usage.ru_inblock * 512),
                logger_u64("cpu_user_ms",
                           (uint64_t)usage.ru_utime.tv_sec * 1000 + (uint64_t)usage.ru_utime.tv_usec / 1000),
                logger_u64("cpu_system_ms",
                           (uint64_t)usage.ru_stime.tv_sec * 1000 + (uint64_t)usage.ru_stime.tv_usec / 1000),
                logger_u64("memory_max_kib", (uint64_t)usage.ru_maxrss));
}

static int run(const struct config *config)
{
    sigset_t stop;
    int got;
    struct server *server;
    char text[SERVER_TEXT_BYTES];
    block_signals(&stop);
    if (server_start(config, &server, text) != 0) {
        logger_line(LOGGER_ERROR, "start_failed", logger_text("why", text));
        return EXIT_FAILURE;
    }
    logger_line(LOGGER_INFO, "server_ready", logger_text("address", config->http_address),
                logger_u64("port", server_port(server)), logger_u64("reactors", server_reactor_count(server)),
                logger_u64("shards", server_shard_count(server)));
    printf("parleyd is ready at http://%s:%u (%u reactors, %u shards, data in %s)\n", config->http_address,
           server_port(server), server_reactor_count(server), server_shard_count(server),
           config->server_data_dir);
    (void)fflush(stdout);
    for (;;) {
        parley_assert(sigwait(&stop, &got) == 0);
        if (got != SIGUSR1)
            break;
        server_log_counters(server);
    }
    int err = server_stop(&server);
    log_usage();
    if (err)
        logger_line(LOGGER_ERROR, "fatal", logger_text("what", "a reactor ended"), logger_err(err));
    return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct config config;
    enum config_action action;
    char text[CONFIG_TEXT_BYTES];
    if (config_load(argc, argv, environ, &config, &action, text) != 0) {
        fprintf(stderr, "parleyd: %s\nparleyd: see 'parleyd --help'\n", text);
        return EXIT_USAGE;
    }
    switch (action) {
    case CONFIG_HELP:
        config_print_help(stdout);
        return EXIT_SUCCESS;
    case CONFIG_VERSION:
        puts("parleyd " PARLEY_VERSION);
        return EXIT_SUCCESS;
    case CONFIG_CHECK:
        config_print(&config, stdout);
        return EXIT_SUCCESS;
    case CONFIG_RUN:
        break;
    }
    struct logger_options log = {.fd = STDERR_FILENO,
                                 .level = (enum logger_level)config.logger_level,
                                 .lines_per_second_max = (uint32_t)config.logger_lines_per_second_max,
                                 .clock = clock_real()};
    logger_configure(&log);
    config_log(&config);
    return run(&config);
}

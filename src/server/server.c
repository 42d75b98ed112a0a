#include "src/server/server.h"

#include <h2o.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "net/http_server.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/reactor/listener.h"
#include "src/reactor/reactor.h"
#include "src/server/data_folder.h"

enum {
    MAILBOX_REQUEST_SLOTS = 1024,
    MAILBOX_LIVE_SLOTS = 4096,
    RING_ENTRIES = 256,
    TIMER_WORK_MAX = 1024,
    BODY_BYTES_MAX = 1 << 20,
    REQUEST_TIMEOUT_MS = 10000,
    WS_MESSAGE_BYTES_MAX = 1 << 20,
    WS_OUT_BYTES_MAX = 4 << 20,
    WS_LINGER_MS = 2000,
};
_Static_assert(WS_OUT_BYTES_MAX >= 2 * WS_MESSAGE_BYTES_MAX, "the largest message fits behind another");

struct worker {
    struct server *server;
    struct reactor *reactor;
    struct listener *listener;
    struct http_server *http;
    uint64_t drain_until_ms; /* 0: not draining */
};

struct server {
    struct server_options options;
    struct data_folder folder;
    struct mailbox_grid *grid;
    struct worker *workers;
    uint32_t reactor_count, started_count;
    uint16_t port;
    atomic_bool stopping;
};

static bool is_ready(void *owner)
{
    struct worker *w = owner;
    return !atomic_load_explicit(&w->server->stopping, memory_order_relaxed);
}

static void on_socket_closed(void *data)
{
    listener_connection_closed(data);
}

static void on_connection(void *owner, struct st_h2o_socket_t *socket, const struct sockaddr *peer)
{
    struct worker *w = owner;
    (void)peer;
    socket->on_close.cb = on_socket_closed;
    socket->on_close.data = w->listener;
    http_server_accept(w->http, socket);
}

static int on_start(void *owner, struct reactor *reactor)
{
    struct worker *w = owner;
    const struct server_options *o = &w->server->options;
    struct http_server_options http = {.loop = reactor_loop(reactor),
                                       .test_endpoints = o->test_endpoints,
                                       .body_bytes_max = BODY_BYTES_MAX,
                                       .request_timeout_ms = REQUEST_TIMEOUT_MS,
                                       .ws = {WS_MESSAGE_BYTES_MAX, WS_OUT_BYTES_MAX, WS_LINGER_MS},
                                       .owner = w,
                                       .ready = is_ready};
    int err = http_server_create(&http, &w->http);
    if (err)
        return err;
    struct listener_options listen = {.reactor = reactor,
                                      .address = o->address,
                                      .port = w->server->port, /* the first reactor's choice holds for all */
                                      .connection_count_max =
                                          o->connection_count_max / w->server->reactor_count + 1,
                                      .owner = w,
                                      .on_connection = on_connection};
    err = listener_create(&listen, &w->listener);
    if (err)
        http_server_destroy(&w->http);
    else
        w->server->port = listener_port(w->listener);
    return err;
}

static void on_message(void *owner, const struct mailbox_message *message)
{
    (void)owner;
    (void)message;
    parley_assert(!"nobody sends mail yet");
}

static void on_lagging(void *owner, uint16_t from)
{
    (void)owner;
    (void)from;
}

static void on_turn_end(void *owner)
{
    struct worker *w = owner;
    http_server_flush(w->http);
}

static bool may_stop(void *owner)
{
    struct worker *w = owner;
    uint64_t now = reactor_now_ms(w->reactor);
    if (w->drain_until_ms == 0) {
        w->drain_until_ms = now + w->server->options.drain_ms;
        listener_stop(w->listener);
        http_server_shut_down(w->http);
        http_server_flush(w->http);
    }
    return listener_connection_count(w->listener) == 0 || now >= w->drain_until_ms;
}

static void on_stop(void *owner)
{
    struct worker *w = owner;
    /* Connections that outlived the drain still point to both; the process ends next and takes them with it. */
    if (listener_connection_count(w->listener) != 0)
        return;
    http_server_destroy(&w->http);
    listener_destroy(&w->listener);
}

static int worker_start(struct server *server, uint32_t index)
{
    struct worker *w = &server->workers[index];
    w->server = server;
    struct reactor_options options = {
        .mailbox = mailbox_grid_at(server->grid, (uint16_t)index),
        .clock = clock_real(),
        .hooks = {w, on_start, on_message, on_lagging, on_turn_end, may_stop, on_stop},
        .cpu = (int)index,
        .ring_entries = RING_ENTRIES,
        .timer_work_max = TIMER_WORK_MAX,
    };
    int err = reactor_create(&options, &w->reactor);
    if (err)
        return err;
    err = reactor_start(w->reactor);
    if (err)
        reactor_destroy(&w->reactor);
    else
        server->started_count++;
    return err;
}

int server_stop(struct server **at)
{
    struct server *server = *at;
    int first = 0;
    *at = NULL;
    atomic_store(&server->stopping, true);
    for (uint32_t i = 0; i < server->started_count; i++)
        reactor_stop(server->workers[i].reactor);
    for (uint32_t i = 0; i < server->started_count; i++) {
        int err = reactor_join(server->workers[i].reactor);
        first = first ? first : err;
    }
    for (uint32_t i = 0; i < server->started_count; i++)
        reactor_destroy(&server->workers[i].reactor);
    mailbox_grid_destroy(&server->grid);
    data_folder_close(&server->folder);
    memory_free(server->workers);
    memory_free(server);
    return first;
}

static const char *start_failure(int err, const struct server_options *o, char *text)
{
    if (err == -PARLEY_ERR_CONFLICT)
        snprintf(text, SERVER_TEXT_BYTES,
                 "port %u of %s is in use: stop who uses it, or choose another with --port", o->port,
                 o->address);
    else if (err == -PARLEY_ERR_BAD_REQUEST)
        snprintf(text, SERVER_TEXT_BYTES,
                 "%.200s is not an address to listen on: give a numeric one of this machine", o->address);
    else
        snprintf(text, SERVER_TEXT_BYTES, "a reactor did not start: %s", parley_err_text(err));
    return text;
}

int server_start(const struct server_options *options, struct server **out, char text[SERVER_TEXT_BYTES])
{
    _Static_assert((int)SERVER_TEXT_BYTES >= (int)DATA_FOLDER_TEXT_BYTES, "its sentences are passed on");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    cores = cores < 1 ? 1 : cores > SERVER_REACTOR_COUNT_MAX ? SERVER_REACTOR_COUNT_MAX : cores;
    struct server *server = memory_zalloc(sizeof *server);
    if (!server) {
        snprintf(text, SERVER_TEXT_BYTES, "out of memory");
        return -PARLEY_ERR_NOMEM;
    }
    server->options = *options;
    server->port = options->port;
    server->reactor_count = options->reactor_count ? options->reactor_count : (uint32_t)cores;
    struct mailbox_options mail = {(uint16_t)server->reactor_count, MAILBOX_REQUEST_SLOTS,
                                   MAILBOX_LIVE_SLOTS};
    int err =
        data_folder_open(options->data_dir, options->shard_count, (uint32_t)cores, &server->folder, text);
    if (err)
        goto free_server;
    snprintf(text, SERVER_TEXT_BYTES, "out of memory or file descriptors");
    server->workers = memory_zalloc(server->reactor_count * sizeof *server->workers);
    err = server->workers ? mailbox_grid_create(&mail, &server->grid) : -PARLEY_ERR_NOMEM;
    if (err)
        goto close_folder;
    for (uint32_t i = 0; i < server->reactor_count; i++) {
        err = worker_start(server, i);
        if (err) {
            start_failure(err, options, text);
            (void)server_stop(&server); /* the first error is the one to tell */
            return err;
        }
    }
    *out = server;
    return 0;

close_folder:
    memory_free(server->workers);
    data_folder_close(&server->folder);
free_server:
    memory_free(server);
    return err;
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

uint32_t server_shard_count(const struct server *server)
{
    return server->folder.shard_count;
}

uint32_t server_reactor_count(const struct server *server)
{
    return server->reactor_count;
}

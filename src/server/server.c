#include "src/server/server.h"

#include <h2o.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/chat_live.h"
#include "net/chat_presence.h"
#include "net/http_reply.h"
#include "net/http_server.h"
#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/base/memory.h"
#include "src/reactor/listener.h"
#include "src/reactor/reactor.h"
#include "src/server/arena.h"
#include "src/server/counters.h"
#include "src/server/data_folder.h"
#include "src/server/drain.h"
#include "src/server/key_file.h"
#include "src/server/router.h"
#include "src/server/secret.h"
#include "src/server/start_gate.h"
#include "src/session/live.h"
#include "src/session/presence.h"
#include "src/shard/large_set.h"
#include "storage/file.h"
#include "storage/reader_pool.h"

enum {
    TIMER_WORK_MAX = 1024,
    REQUEST_TIMEOUT_MS = 10000,
    WS_MESSAGE_BYTES_MAX = 1 << 20,
    WS_OUT_BYTES_MAX = 4 << 20,
    WS_LINGER_MS = 2000,
    LEASE_MS = 5000,
    HOUSEKEEPING_MS = 1000, /* an idle reactor wakes to renew its shards' ceilings and write their marks */
    DRAIN_STEP_MS = 20,
    REFUSED_RETRY_AFTER_MS = 1000,
    SHARD_REQUESTS_MAX = 65536,
    CHAT_OPEN_MAX = 65536,
    PATH_BYTES = 4096,
};
_Static_assert(2 * HOUSEKEEPING_MS < LEASE_MS, "a ceiling is renewed before it is used up");
_Static_assert(WS_OUT_BYTES_MAX >= 2 * WS_MESSAGE_BYTES_MAX, "the largest message fits behind another");
_Static_assert(WS_OUT_BYTES_MAX > 6 * BODY_BYTES_MAX + (64 << 10),
               "a body of escapes fits into an empty buffer");

struct worker {
    struct server *server;
    struct reactor *reactor;
    struct listener *listener;
    struct http_server *http;
    struct file_layer *files;
    struct shard **shards; /* by number, NULL where another reactor owns it */
    struct router router;
    struct chat_http chat;
    struct chat_ws chat_ws;
    struct live *live;
    char refusal[HTTP_ERROR_ANSWER_BYTES]; /* to connections beyond the caps */
    struct presence *presence;             /* NULL: switched off */
    struct wheel_timer housekeeping, presence_step;
    struct drain drain;
};

struct server {
    const struct config *config;
    struct data_folder folder;
    struct jwt_key key;
    struct mailbox_grid *grid;
    struct reader_pool *pool;
    struct live_shared *live_shared;
    drain_barrier quiet_count;
    struct counters_board *counters;
    struct worker *workers;
    uint32_t reactor_count;
    uint16_t port;
    atomic_bool stopping;
    struct start_gate gate;
    atomic_uint asks; /* questions between shards that are out: nobody leaves before they are home */
    pthread_mutex_t text_lock;
    char text[SERVER_TEXT_BYTES]; /* why a start failed, when somebody has more to say than the error */
};

static bool is_ready(void *owner)
{
    struct worker *w = owner;
    return !atomic_load_explicit(&w->server->stopping, memory_order_relaxed);
}

static size_t write_counters(void *owner, char out[HTTP_TEST_COUNTERS_BYTES])
{
    _Static_assert((int)HTTP_TEST_COUNTERS_BYTES == (int)COUNTERS_JSON_BYTES,
                   "one writes what the other has room for");
    const struct worker *w = owner;
    return counters_json(w->server->counters, out);
}

static void publish_counters(const struct worker *w)
{
    struct shard_counters now;
    for (uint32_t n = 0; n < w->server->folder.shard_count; n++) {
        if (!w->shards[n])
            continue;
        shard_counters_read(w->shards[n], &now);
        counters_publish(w->server->counters, n, &now);
    }
    struct thread_counters own;
    reactor_counters_read(w->reactor, &own.reactor);
    mailbox_counters_read(w->router.mailbox, &own.mailbox);
    listener_counters_read(w->listener, &own.listener);
    counters_publish_thread(w->server->counters, mailbox_index(w->router.mailbox), &own);
}

static void on_connection(void *owner, struct st_h2o_socket_t *socket, const struct sockaddr *peer)
{
    struct worker *w = owner;
    (void)peer;
    http_server_accept(w->http, socket);
}

static void on_applied(void *owner, const struct shard_effect *effect)
{
    struct worker *w = owner;
    bool large = effect->conversation && effect->conversation->applied.page_count >= MACHINE_LARGE_PAGES;
    live_publish(w->live, effect->event, effect->pages, effect->page_count, large, effect->session);
}

static void on_typing(void *owner, const struct shard_typing *typing)
{
    struct worker *w = owner;
    uint8_t text[CHAT_TYPING_JSON_BYTES];
    size_t len = chat_live_encode_typing(&typing->conversation, typing->user, text);
    live_tell_page(w->live, &typing->conversation, typing->page, (struct span){text, len}, typing->session);
}

static void tell_presence(void *owner, const struct id16 *hash, struct span user,
                          const struct presence_view *view)
{
    struct worker *w = owner;
    uint8_t text[CHAT_PRESENCE_JSON_BYTES];
    size_t len = chat_presence_encode(true, user, view, text);
    live_tell_watchers(w->live, hash, view->version, (struct span){text, len});
}

static void wait_for_presence(struct worker *w)
{
    if (presence_is_busy(w->presence) && !wheel_timer_pending(&w->presence_step))
        timer_wheel_add(reactor_timers(w->reactor), &w->presence_step,
                        reactor_now_ms(w->reactor) + PRESENCE_STEP_MS);
}

static void step_presence(struct wheel_timer *timer)
{
    struct worker *w = (struct worker *)((char *)timer - offsetof(struct worker, presence_step));
    presence_step(w->presence, clock_monotonic_ms(clock_real()));
    wait_for_presence(w);
}

static int on_presence(void *owner, struct shard_request *request)
{
    struct worker *w = owner;
    struct shard_presence *asked = &request->presence;
    const struct command *c = &request->command;
    struct presence_time now = {clock_monotonic_ms(clock_real()), clock_wall_ms(clock_real())};
    struct presence_view view;
    if (!w->presence)
        return -PARLEY_ERR_NOT_FOUND;
    if (asked->says) {
        int err = presence_beat(w->presence, &c->target_hash, c->target, asked->device,
                                (enum presence_state)asked->state, now);
        wait_for_presence(w);
        return err;
    }
    presence_read(w->presence, &c->target_hash, &view);
    *asked = (struct shard_presence){
        .state = (uint8_t)view.state, .last_seen_ms = view.last_seen_ms, .version = view.version};
    return 0;
}

static int open_presence(struct worker *w)
{
    const struct config *o = w->server->config;
    struct presence_options options = {.ttl_ms = (uint32_t)o->presence_expiry_ms,
                                       .users_max = PRESENCE_USERS_MAX,
                                       .owner = w,
                                       .tell = tell_presence};
    wheel_timer_init(&w->presence_step, step_presence);
    return o->presence_enabled ? presence_create(&options, &w->presence) : 0;
}

static void on_large_member(void *owner, const struct id16 *user, const struct id16 *conversation)
{
    struct worker *w = owner;
    live_tell_large(w->live, user, conversation);
}

static uint16_t reactor_of(void *owner, const struct id16 *key)
{
    struct worker *w = owner;
    return router_reactor_of(&w->router, hash_shard(w->router.key, key, w->router.shard_count));
}

static int open_live(struct worker *w)
{
    struct live_options options = {.mailbox = w->router.mailbox,
                                   .reactor_count = w->router.reactor_count,
                                   .shared = w->server->live_shared,
                                   .owner = w,
                                   .reactor_of = reactor_of,
                                   .room = chat_live_room,
                                   .encode = chat_live_encode};
    return live_create(&options, &w->live);
}

/* Nothing may be acknowledged any more, and what is in memory is no longer what the log says: end, and replay. */
static void on_shard_fatal(void *owner, int err, const char *what)
{
    (void)owner;
    logger_line(LOGGER_ERROR, "fatal", logger_text("what", what), logger_err(err));
    _exit(EXIT_FAILURE);
}

static bool ask_shard(void *owner, struct shard_request *request)
{
    struct worker *w = owner;
    struct request_router router = router_interface(&w->router);
    atomic_fetch_add(&w->server->asks, 1); /* first: who stops looks at them in the other order */
    if (atomic_load(&w->server->stopping)) {
        atomic_fetch_sub(&w->server->asks, 1);
        return false;
    }
    router.submit(router.owner, request);
    return true;
}

static void ask_ended(void *owner)
{
    struct worker *w = owner;
    atomic_fetch_sub(&w->server->asks, 1);
}

static void wake_worker(void *owner)
{
    struct worker *w = owner;
    mailbox_wake(w->router.mailbox);
}

/* Nothing has moved yet: from the persisted redo on, everything was replayed. */
static void log_opened(const struct shard *shard, uint32_t number, const struct log_report *report,
                       uint64_t took_ms)
{
    struct shard_counters now;
    if (report->torn_bytes)
        logger_line(LOGGER_WARN, "torn_tail_repaired", logger_u64("shard", number),
                    logger_text("file", report->file), logger_u64("offset", report->offset),
                    logger_u64("bytes", report->torn_bytes));
    shard_counters_read(shard, &now);
    logger_line(LOGGER_INFO, "shard_opened", logger_u64("shard", number),
                logger_u64("redo", now.persisted_redo), logger_u64("end", now.applied),
                logger_u64("events_replayed", now.applied - now.persisted_redo),
                logger_u64("log_kept_bytes", now.log_bytes), logger_u64("took_ms", took_ms));
}

/* The first sentence stays: the others are its echoes. */
__attribute__((format(printf, 2, 3))) static void say(struct server *server, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&server->text_lock);
    if (!server->text[0])
        vsnprintf(server->text, sizeof server->text, format, args);
    pthread_mutex_unlock(&server->text_lock);
    va_end(args);
}

/* What the data folder refuses has a remedy, which another tool knows. */
static void tell_refused(struct server *server, uint32_t number, int err, const char *log_dir,
                         const struct log_report *report)
{
    bool damaged = err == -PARLEY_ERR_CORRUPT || err == -PARLEY_ERR_LOST || err == -PARLEY_ERR_IO;
    say(server, "shard %u: %.200s (%.180s/%.80s at %llu)%s", number,
        report->text[0] ? report->text : parley_err_text(err), log_dir, report->file,
        (unsigned long long)report->offset, damaged ? "; `parley verify` tells what can be done" : "");
}

static int open_shard(struct worker *w, uint32_t number)
{
    struct server *server = w->server;
    char path[PATH_BYTES];
    struct log_report report = {0};
    if (snprintf(path, sizeof path, "%s/shard-%04u", server->config->server_data_dir, number) >=
        PATH_BYTES - 8)
        return -PARLEY_ERR_BAD_REQUEST;
    int err = w->files->ops->make_dir(w->files, path);
    if (err)
        return err;
    char log_dir[PATH_BYTES], store_dir[PATH_BYTES];
    snprintf(log_dir, sizeof log_dir, "%.4000s/log", path);
    snprintf(store_dir, sizeof store_dir, "%.4000s/store", path);
    /* RocksDB would make it as well, and never sync its name. */
    err = server->folder.complete ? 0 : w->files->ops->make_dir(w->files, store_dir);
    if (err) {
        say(server, "shard %u: cannot make %.500s: %s", number, store_dir, parley_err_text(err));
        return err;
    }
    const struct config *o = server->config;
    uint32_t shares = server->folder.shard_count;
    struct shard_options options = {
        .number = number,
        .log_dir = log_dir,
        .files = w->files,
        .must_exist = server->folder.complete,
        .helper_thread = true,
        .key = server->folder.key,
        .clock = clock_real(),
        .limits = {(uint32_t)o->limits_group_members_max, (uint32_t)o->limits_channel_members_max,
                   (uint32_t)o->message_body_max_bytes, TITLE_BYTES_MAX},
        .user_sends = {(uint32_t)o->limits_user_sends_per_s, (uint32_t)o->limits_user_sends_burst},
        .conversation_sends = {(uint32_t)o->limits_conversation_sends_per_s,
                               (uint32_t)o->limits_conversation_sends_burst},
        .store_dir = store_dir,
        .shard_count = server->folder.shard_count,
        .ask = ask_shard,
        .ask_ended = ask_ended,
        .store_cache_bytes = o->store_cache_max_bytes / shares,
        .store_write_buffer_bytes = o->store_write_buffer_max_bytes / shares,
        .space_guard_bytes = o->store_space_guard_bytes,
        .pool = server->pool,
        .reactor = mailbox_index(w->router.mailbox),
        .dedup = {o->dedup_horizon_ms, (uint32_t)o->dedup_messages_max},
        .memory_bytes_max = o->store_objects_max_bytes / shares,
        .dirty_bytes_max = o->store_dirty_max_bytes / shares,
        .log_bytes_max = o->commit_log_size_max_bytes,
        .lease_ms = LEASE_MS,
        .request_count_max = SHARD_REQUESTS_MAX,
        .owner = w,
        .wake = wake_worker,
        .on_applied = on_applied,
        .on_typing = on_typing,
        .on_presence = on_presence,
        .on_large_member = on_large_member,
        .on_fatal = on_shard_fatal};
    uint64_t began_ms = clock_monotonic_ms(clock_real());
    err = shard_open(&options, &report, &w->shards[number]);
    if (!err)
        log_opened(w->shards[number], number, &report, clock_monotonic_ms(clock_real()) - began_ms);
    if (err)
        tell_refused(server, number, err, log_dir, &report);
    return err;
}

static bool complete_file(void *owner, uint64_t user_data, int result)
{
    (void)owner;
    if (user_data == 0) /* the file layer waited on the ring itself and took this one */
        return true;
    if (!file_layer_uring_owns(user_data))
        return false;
    file_layer_uring_complete(user_data, result);
    return true;
}

static void keep_house(struct wheel_timer *timer)
{
    /* That the turn happens is all: its end does the rest. */
    struct worker *w = (struct worker *)((char *)timer - offsetof(struct worker, housekeeping));
    publish_counters(w);
    uint64_t step_ms = drain_begun(&w->drain) ? DRAIN_STEP_MS : HOUSEKEEPING_MS;
    timer_wheel_add(reactor_timers(w->reactor), timer, reactor_now_ms(w->reactor) + step_ms);
}

static int open_shards(struct worker *w)
{
    struct server *server = w->server;
    struct reactor_ring_client client = {w, complete_file};
    w->router = (struct router){.key = &server->folder.key,
                                .clock = clock_real(),
                                .mailbox = reactor_mailbox(w->reactor),
                                .shard_count = server->folder.shard_count,
                                .reactor_count = (uint16_t)server->reactor_count};
    w->router.shards = w->shards = memory_zalloc(server->folder.shard_count * sizeof(struct shard *));
    reader_pool_attach(server->pool, mailbox_index(w->router.mailbox), wake_worker, w);
    int err = w->shards ? file_layer_uring_create(reactor_ring(w->reactor), &w->files) : -PARLEY_ERR_NOMEM;
    if (!err)
        err = open_live(w);
    if (!err)
        err = open_presence(w);
    if (!err)
        err = reactor_add_ring_client(w->reactor, &client);
    for (uint32_t n = 0; n < server->folder.shard_count && !err; n++)
        if (router_reactor_of(&w->router, n) == mailbox_index(w->router.mailbox))
            err = open_shard(w, n);
    return err;
}

static void close_shards(struct worker *w)
{
    for (uint32_t n = 0; w->shards && n < w->server->folder.shard_count; n++)
        shard_close(&w->shards[n]);
    if (w->files)
        file_layer_uring_destroy(&w->files);
    memory_free(w->shards);
    w->shards = NULL;
}

static void close_live(struct worker *w)
{
    chat_ws_dispose(&w->chat_ws);
    live_destroy(&w->live);
    presence_destroy(&w->presence);
}

/* A reactor's part of what the operator allows to all, rounded up. */
static uint64_t share_of(const struct server *server, uint64_t all, uint64_t least)
{
    uint64_t share = (all + server->reactor_count - 1) / server->reactor_count;
    return share > least ? share : least;
}

static int open_doors(struct worker *w)
{
    struct server *server = w->server;
    const struct config *o = server->config;
    struct request_router router = router_interface(&w->router);
    struct chat_http_options chat = {.body_bytes_max = (uint32_t)o->http_request_body_max_bytes,
                                     .open_max = CHAT_OPEN_MAX,
                                     .answers_bytes_max = share_of(server, o->http_answers_max_bytes, 1)};
    int err = chat_http_init(&w->chat, &router, &server->key, &chat);
    if (err)
        return err;
    chat_ws_init(&w->chat_ws, &w->chat, w->live);
    struct http_server_options http = {
        .loop = reactor_loop(w->reactor),
        .chat = &w->chat,
        .chat_ws = &w->chat_ws,
        .test_endpoints = o->http_test_endpoints,
        .body_bytes_max = (uint32_t)o->http_request_body_max_bytes,
        .bodies_bytes_max = share_of(server, o->http_bodies_max_bytes, o->http_request_body_max_bytes),
        .request_timeout_ms = REQUEST_TIMEOUT_MS,
        .ws = {WS_MESSAGE_BYTES_MAX, WS_OUT_BYTES_MAX, WS_LINGER_MS, (uint32_t)o->http_ws_ping_after_ms},
        .owner = w,
        .ready = is_ready,
        .test = {w, write_counters}};
    err = http_server_create(&http, &w->http);
    if (err)
        goto dispose_chat;
    struct listener_options listen = {
        .reactor = w->reactor,
        .address = o->http_address,
        .port = server->port, /* the first reactor's choice holds for all */
        .connection_count_max = (uint32_t)share_of(server, o->http_connections_max, 1),
        .peer_connection_count_max = (uint32_t)share_of(server, o->http_connections_per_address_max, 1),
        .refusal = {(const uint8_t *)w->refusal,
                    http_error_answer(w->refusal, PARLEY_ERR_FULL, REFUSED_RETRY_AFTER_MS)},
        .owner = w,
        .on_connection = on_connection};
    err = listener_create(&listen, &w->listener);
    if (err)
        goto destroy_http;
    server->port = listener_port(w->listener);
    return 0;

destroy_http:
    http_server_destroy(&w->http);
dispose_chat:
    chat_http_dispose(&w->chat);
    return err;
}

/* Nobody is inside. */
static void close_doors(struct worker *w)
{
    if (!w->listener)
        return;
    http_server_destroy(&w->http);
    chat_http_dispose(&w->chat);
    listener_destroy(&w->listener);
}

static int on_start(void *owner, struct reactor *reactor)
{
    struct worker *w = owner;
    (void)reactor;      /* it is w->reactor already */
    (void)arena_take(); /* without it everything works, only slower */
    int err = start_gate_arrive(&w->server->gate, open_shards(w));
    bool first = w == w->server->workers; /* its port holds for all */
    if (!err)
        err = start_gate_arrive(&w->server->gate, first ? open_doors(w) : 0);
    if (!err)
        err = start_gate_arrive(&w->server->gate, first ? 0 : open_doors(w));
    if (err) {
        close_doors(w);
        close_shards(w);
        close_live(w);
        return err;
    }
    wheel_timer_init(&w->housekeeping, keep_house);
    timer_wheel_add(reactor_timers(reactor), &w->housekeeping, reactor_now_ms(reactor) + HOUSEKEEPING_MS);
    return 0;
}

/* Perhaps it never came to the gate. */
static void on_start_failed(void *owner, int err)
{
    struct worker *w = owner;
    (void)start_gate_open(&w->server->gate, err);
}

static void on_message(void *owner, const struct mailbox_message *message)
{
    struct worker *w = owner;
    if (message->kind >= LIVE_KIND_FIRST)
        live_mailbox_message(w->live, message);
    else
        router_message(&w->router, message);
}

static void on_lagging(void *owner, uint16_t from)
{
    struct worker *w = owner;
    live_lagging(w->live, from);
}

static void on_turn_end(void *owner)
{
    struct worker *w = owner;
    reader_pool_poll(w->server->pool, mailbox_index(w->router.mailbox));
    for (uint32_t n = 0; n < w->server->folder.shard_count; n++)
        if (w->shards[n])
            shard_turn_end(w->shards[n]);
    live_turn_end(w->live);
    http_server_flush(w->http);
}

static uint32_t waiting_count(const struct worker *w)
{
    uint32_t count = w->chat.open_count;
    for (uint32_t n = 0; n < w->server->folder.shard_count; n++)
        count += w->shards[n] ? shard_waiting_count(w->shards[n]) : 0;
    return count;
}

static bool may_stop(void *owner)
{
    struct worker *w = owner;
    struct server *server = w->server;
    uint64_t now = reactor_now_ms(w->reactor);
    if (!drain_begun(&w->drain)) {
        drain_begin(&w->drain, now, server->config->server_shutdown_grace_ms,
                    http_server_socket_count(w->http));
        timer_wheel_add(reactor_timers(w->reactor), &w->housekeeping, now + DRAIN_STEP_MS);
        listener_stop(w->listener);
        http_server_shut_down(w->http);
        for (uint32_t n = 0; n < server->folder.shard_count; n++)
            if (w->shards[n])
                shard_stop_deriving(w->shards[n]);
    }
    w->drain.told += http_server_leave(w->http, drain_due(&w->drain, now));
    http_server_flush(w->http);
    bool quiet = listener_connection_count(w->listener) == 0 && waiting_count(w) == 0;
    if (quiet && drain_quiet(&w->drain, &server->quiet_count, server->reactor_count))
        for (uint32_t i = 0; i < server->reactor_count; i++)
            mailbox_wake(mailbox_grid_at(server->grid, (uint16_t)i));
    bool home = atomic_load(&server->asks) == 0;
    return drain_over(&w->drain, now, &server->quiet_count, home ? server->reactor_count : UINT32_MAX);
}

static void on_stop(void *owner)
{
    struct worker *w = owner;
    struct mailbox_handler last = {w, on_message, on_lagging};
    publish_counters(w);
    timer_wheel_cancel(reactor_timers(w->reactor), &w->housekeeping);
    timer_wheel_cancel(reactor_timers(w->reactor), &w->presence_step);
    (void)mailbox_drain(w->router.mailbox, &last); /* parcels that nobody waits for any more */
    close_shards(w);
    /* Connections that outlived the drain still point to these; the process ends next and takes them with it. */
    if (listener_connection_count(w->listener) != 0 || w->chat.open_count != 0)
        return;
    close_doors(w);
    close_live(w);
}

static int worker_launch(struct server *server, uint32_t index)
{
    struct worker *w = &server->workers[index];
    w->server = server;
    struct reactor_options options = {
        .mailbox = mailbox_grid_at(server->grid, (uint16_t)index),
        .clock = clock_real(),
        .hooks = {w, on_start, on_start_failed, on_message, on_lagging, on_turn_end, may_stop, on_stop},
        .cpu = server->config->server_pin_cores ? (int)(index % (uint32_t)sysconf(_SC_NPROCESSORS_ONLN))
                                                : REACTOR_CPU_ANY,
        .ring_entries = (uint32_t)server->config->ring_entries,
        .timer_work_max = TIMER_WORK_MAX,
    };
    int err = reactor_create(&options, &w->reactor);
    if (err)
        return err;
    err = reactor_launch(w->reactor);
    if (err)
        reactor_destroy(&w->reactor);
    return err;
}

void server_log_counters(const struct server *server)
{
    counters_log(server->counters);
}

static void server_free(struct server *server)
{
    reader_pool_destroy(&server->pool);
    counters_destroy(&server->counters);
    mailbox_grid_destroy(&server->grid);
    live_shared_destroy(&server->live_shared);
    data_folder_close(&server->folder);
    start_gate_dispose(&server->gate);
    pthread_mutex_destroy(&server->text_lock);
    memory_free(server->workers);
    memory_free(server);
}

int server_stop(struct server **at)
{
    struct server *server = *at;
    int first = 0;
    *at = NULL;
    uint64_t began_ms = clock_monotonic_ms(clock_real());
    logger_line(LOGGER_INFO, "drain_began", logger_u64("grace_ms", server->config->server_shutdown_grace_ms));
    atomic_store(&server->stopping, true);
    for (uint32_t i = 0; i < server->reactor_count; i++)
        reactor_stop(server->workers[i].reactor);
    for (uint32_t i = 0; i < server->reactor_count; i++) {
        int err = reactor_join(server->workers[i].reactor);
        first = first ? first : err;
    }
    logger_line(LOGGER_INFO, "drain_ended",
                logger_u64("took_ms", clock_monotonic_ms(clock_real()) - began_ms));
    server_log_counters(server);
    for (uint32_t i = 0; i < server->reactor_count; i++)
        reactor_destroy(&server->workers[i].reactor);
    server_free(server);
    return first;
}

static const char *start_failure(int err, const struct config *o, char *text)
{
    if (text[0])
        return text;
    if (err == -PARLEY_ERR_CONFLICT)
        snprintf(text, SERVER_TEXT_BYTES,
                 "port %u of %s is in use: stop who uses it, or choose another with --http-port",
                 (unsigned)o->http_port, o->http_address);
    else if (err == -PARLEY_ERR_BAD_REQUEST)
        snprintf(text, SERVER_TEXT_BYTES,
                 "%.200s is not an address to listen on: give a numeric one of this machine",
                 o->http_address);
    else
        snprintf(text, SERVER_TEXT_BYTES, "a reactor did not start: %s", parley_err_text(err));
    return text;
}

static int open_key(const struct config *o, struct jwt_key *key, char *text)
{
    bool given = o->auth_key_file[0];
    int err = given ? key_file_read(o->auth_key_file, key) : secret_open(o->server_data_dir, key);
    if (err)
        snprintf(text, SERVER_TEXT_BYTES, "%.250s%s: %s", given ? o->auth_key_file : o->server_data_dir,
                 given ? "" : "/secret",
                 err == -PARLEY_ERR_CORRUPT ? "this is neither " KEY_FILE_FORMS : parley_err_text(err));
    return err;
}

static struct shard *shard_of(const struct server *server, uint32_t number)
{
    return server->workers[number % server->reactor_count].shards[number];
}

/* Two shards may fit their own logs and not each other: one of them is older, or its store is gone. */
static int compare_shards(struct server *server)
{
    for (uint32_t d = 0; d < server->folder.shard_count; d++)
        for (uint32_t s = 0; s < server->folder.shard_count; s++) {
            uint64_t has = shard_derived_to(shard_of(server, d), s);
            uint64_t start = shard_log_start(shard_of(server, s)), end = shard_log_end(shard_of(server, s));
            if (has >= start && has <= end)
                continue;
            say(server,
                has > end ? "shard %u has derived the log of shard %u up to position %llu, but that ends at "
                            "%llu: its "
                            "end is missing; restore both from a backup, see 'parley verify'"
                          : "shard %u needs the log of shard %u from position %llu, but that begins at %llu: "
                            "the first "
                            "one's store is missing or old; restore it from a backup, see 'parley verify'",
                d, s, (unsigned long long)has, (unsigned long long)(has > end ? end : start));
            return -PARLEY_ERR_LOST;
        }
    return 0;
}

/* Shards, the first doors, the others: see on_start. */
static int begin_together(struct server *server)
{
    int err = start_gate_wait(&server->gate);
    if (!err)
        err = compare_shards(server);
    char text[DATA_FOLDER_TEXT_BYTES] = "";
    if (!err)
        err = data_folder_completed(server->config->server_data_dir, &server->folder, text);
    if (text[0])
        say(server, "%s", text);
    for (int doors = 0; doors < 2; doors++) {
        err = start_gate_open(&server->gate, err);
        if (!err)
            err = start_gate_wait(&server->gate);
    }
    return start_gate_open(&server->gate, err);
}

/* All reactors run, or none. */
static int start_workers(struct server *server)
{
    uint32_t launched = 0;
    int err = 0;
    for (; launched < server->reactor_count && !err; launched += !err)
        err = worker_launch(server, launched);
    err = err ? start_gate_open(&server->gate, err) : begin_together(server);
    for (uint32_t i = 0; i < launched; i++) {
        int own = reactor_await(server->workers[i].reactor);
        err = err ? err : own;
        parley_assert(!own == !err); /* the gate ends all or none */
    }
    for (uint32_t i = 0; err && i < launched; i++)
        reactor_destroy(&server->workers[i].reactor);
    return err;
}

static int server_open(struct server *server, uint32_t cores, char *text)
{
    const struct config *config = server->config;
    int err = data_folder_open(config->server_data_dir, (uint32_t)config->server_shards, cores,
                               &server->folder, text);
    if (err)
        return err;
    err = open_key(config, &server->key, text);
    if (err)
        return err;
    snprintf(text, SERVER_TEXT_BYTES, "out of memory or file descriptors");
    struct mailbox_options mail = {(uint16_t)server->reactor_count, (uint32_t)config->mailbox_request_slots,
                                   (uint32_t)config->mailbox_live_slots};
    struct reader_pool_options pool = {.reactor_count = server->reactor_count};
    server->workers = memory_zalloc(server->reactor_count * sizeof *server->workers);
    err = server->workers ? mailbox_grid_create(&mail, &server->grid) : -PARLEY_ERR_NOMEM;
    if (!err)
        err = reader_pool_create(&pool, &server->pool);
    if (!err)
        err = live_shared_create((uint16_t)server->reactor_count, &server->live_shared);
    if (!err)
        err = counters_create(server->folder.shard_count, server->reactor_count, &server->counters);
    if (err)
        return err;
    err = start_workers(server);
    if (err) {
        snprintf(text, SERVER_TEXT_BYTES, "%s", server->text);
        start_failure(err, config, text);
    }
    return err;
}

int server_start(const struct config *config, struct server **out, char text[SERVER_TEXT_BYTES])
{
    _Static_assert((int)SERVER_TEXT_BYTES >= (int)DATA_FOLDER_TEXT_BYTES, "its sentences are passed on");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    cores = cores < 1 ? 1 : cores > MAILBOX_REACTOR_COUNT_MAX ? MAILBOX_REACTOR_COUNT_MAX : cores;
    struct server *server = memory_zalloc(sizeof *server);
    if (!server) {
        snprintf(text, SERVER_TEXT_BYTES, "out of memory");
        return -PARLEY_ERR_NOMEM;
    }
    server->config = config;
    server->folder.lock_fd = -1;
    server->port = (uint16_t)config->http_port;
    server->reactor_count = config->server_reactors ? (uint32_t)config->server_reactors : (uint32_t)cores;
    start_gate_init(&server->gate, server->reactor_count);
    pthread_mutex_init(&server->text_lock, NULL);
    int err = server_open(server, (uint32_t)cores, text);
    if (err)
        server_free(server);
    else
        *out = server;
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

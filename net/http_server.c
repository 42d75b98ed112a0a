#include "net/http_server.h"

#include <string.h>
#include <sys/socket.h>

#include "net/bearer.h"
#include "net/chat_json.h"
#include "net/chat_ws.h"
#include "net/http_intake.h"
#include "net/http_refusal.h"
#include "net/http_reply.h"
#include "net/ws_handshake.h"
#include "src/base/error.h"
#include "src/base/memory.h"

struct http_server {
    struct http_server_options options;
    h2o_globalconf_t config;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    struct http_intake intake;
    struct ws_context ws;
};

struct http_handler {
    h2o_handler_t super; /* first: h2o hands it back */
    struct http_server *server;
};

struct route {
    const char *path;
    const char *method;
    bool test_only;
    void (*answer)(struct http_server *server, h2o_req_t *req);
};

static void answer_health(struct http_server *server, h2o_req_t *req)
{
    (void)server; /* that it answers is the answer */
    http_reply_json(req, 200, chat_words("{\"status\":\"ok\"}"));
}

static void answer_ready(struct http_server *server, h2o_req_t *req)
{
    if (server->options.ready(server->options.owner))
        http_reply_json(req, 200, chat_words("{\"status\":\"ready\"}"));
    else
        http_reply_error(req, PARLEY_ERR_CLOSING, 1000);
}

static void answer_http_echo(struct http_server *server, h2o_req_t *req)
{
    (void)server;
    http_reply(req, 200, "application/octet-stream", http_span(req->entity));
}

static void echo_message(void *owner, struct ws_socket *socket, bool text, struct span payload)
{
    (void)owner;
    if (ws_socket_send(socket, text ? WS_TEXT : WS_BINARY, payload) != 0)
        ws_socket_close(socket, WS_CODE_TRY_LATER);
}

static void echo_closed(void *owner)
{
    (void)owner;
}

/* The field's value; `*repeated` is set when it came more than once. */
static struct span single_field(h2o_req_t *req, const h2o_token_t *token, const char *name, bool *repeated)
{
    ssize_t at = token ? h2o_find_header(&req->headers, token, -1)
                       : h2o_find_header_by_str(&req->headers, name, strlen(name), -1);
    if (at < 0)
        return (struct span){0};
    ssize_t again = token ? h2o_find_header(&req->headers, token, at)
                          : h2o_find_header_by_str(&req->headers, name, strlen(name), at);
    if (again >= 0)
        *repeated = true;
    return http_span(req->headers.entries[at].value);
}

static int check_handshake(h2o_req_t *req, char accept[WS_ACCEPT_BYTES + 1])
{
    struct ws_handshake h = {.method = http_span(req->method),
                             .http_1_1 = req->version >= 0x101,
                             .upgrade = http_span(req->upgrade)};
    h.connection = single_field(req, H2O_TOKEN_CONNECTION, NULL, &h.repeated);
    h.version = single_field(req, NULL, "sec-websocket-version", &h.repeated);
    h.key = single_field(req, NULL, "sec-websocket-key", &h.repeated);
    int err = ws_handshake_check(&h, accept);
    if (h.version_mismatch)
        h2o_add_header_by_str(&req->pool, &req->res.headers, H2O_STRLIT("sec-websocket-version"), 0, NULL,
                              H2O_STRLIT("13"));
    return err || req->entity.len == 0 ? err : -PARLEY_ERR_BAD_REQUEST;
}

static void refuse_handshake(h2o_req_t *req, int err)
{
    static const struct fault no_upgrade = {
        NULL,
        "This is a WebSocket: ask for an upgrade as RFC 6455 says, with version 13 and without a body."};
    http_reply_fault(req, err, err == -PARLEY_ERR_BAD_REQUEST ? &no_upgrade : NULL, 0);
}

static void answer_ws_echo(struct http_server *server, h2o_req_t *req)
{
    static const struct ws_socket_ops echo = {.message = echo_message, .closed = echo_closed};
    char accept[WS_ACCEPT_BYTES + 1];
    int err = check_handshake(req, accept);
    if (!err)
        err = ws_socket_upgrade(&server->ws, req, accept, &echo, NULL);
    if (err)
        refuse_handshake(req, err);
}

static void answer_chat_ws(struct http_server *server, h2o_req_t *req)
{
    char accept[WS_ACCEPT_BYTES + 1];
    int err = check_handshake(req, accept);
    if (err)
        refuse_handshake(req, err);
    else
        chat_ws_begin(server->options.chat_ws, &server->ws, req, accept);
}

static const struct route routes[] = {
    {"/health", "GET", false, answer_health},       {"/ready", "GET", false, answer_ready},
    {"/v1/ws", "GET", false, answer_chat_ws},       {"/test/http-echo", "POST", true, answer_http_echo},
    {"/test/ws-echo", "GET", true, answer_ws_echo},
};

static bool same(h2o_iovec_t have, const char *want)
{
    return have.len == strlen(want) && memcmp(have.base, want, have.len) == 0;
}

static void answer(struct http_server *server, h2o_req_t *req)
{
    h2o_iovec_t path = req->path;
    if (req->query_at != SIZE_MAX)
        path.len = req->query_at;
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(routes); i++) {
        if (!same(path, routes[i].path) || (routes[i].test_only && !server->options.test_endpoints))
            continue;
        bool get = strcmp(routes[i].method, "GET") == 0;
        if (same(req->method, routes[i].method) || (get && same(req->method, "HEAD")))
            routes[i].answer(server, req);
        else
            http_reply_error_method(req, get ? "GET, HEAD" : routes[i].method);
        return;
    }
    if (server->options.test_endpoints && http_test_answer(&server->options.test, req))
        return;
    if (!chat_http_answer(server->options.chat, req))
        http_reply_error(req, PARLEY_ERR_NOT_FOUND, 0);
}

/* Only a good token lets a long body in; the test endpoints know no tokens. */
static int admit_body(void *owner, const struct http_head *head)
{
    static const char test[] = "/test/";
    struct http_server *server = owner;
    struct chat_http *chat = server->options.chat;
    struct jwt_claims claims;
    if (server->options.test_endpoints && head->target.len >= sizeof test - 1 &&
        memcmp(head->target.data, test, sizeof test - 1) == 0)
        return 0;
    return bearer_check_field(chat->tokens, head->authorization, chat->router.now_ms(chat->router.owner),
                              &claims);
}

static int on_request(h2o_handler_t *super, h2o_req_t *req)
{
    struct http_server *server = ((struct http_handler *)super)->server;
    int err = http_intake_request(&server->intake, req);
    if (err)
        http_reply_error_and_close(req, err);
    else
        answer(server, req);
    return 0;
}

int http_server_create(const struct http_server_options *options, struct http_server **out)
{
    struct http_server *server = memory_zalloc(sizeof *server);
    if (!server)
        return -PARLEY_ERR_NOMEM;
    server->options = *options;
    if (options->test_endpoints)
        http_test_prepare();
    h2o_config_init(&server->config);
    /* The packaged libh2o has open HTTP/2 holes. */
    server->config.http1.upgrade_to_http2 = 0;
    /* Its graceful shutdown would leave a timer in a context that is disposed of. */
    server->config.http2.callbacks.request_shutdown = NULL;
    server->config.http1.req_timeout = options->request_timeout_ms;
    server->config.max_request_entity_size = options->body_bytes_max;
    server->config.server_name = h2o_iovec_init(H2O_STRLIT("parley"));
    h2o_hostconf_t *host =
        h2o_config_register_host(&server->config, h2o_iovec_init(H2O_STRLIT("default")), UINT16_MAX);
    http_refusal_register(&host->fallback_path);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct http_handler *handler = (struct http_handler *)h2o_create_handler(path, sizeof *handler);
    handler->super.on_req = on_request;
    handler->server = server;
    h2o_context_init(&server->context, options->loop, &server->config);
    struct http_intake_options intake = {options->body_bytes_max, options->bodies_bytes_max, server,
                                         admit_body};
    http_intake_init(&server->intake, &intake);
    server->accept = (h2o_accept_ctx_t){.ctx = &server->context, .hosts = server->config.hosts};
    ws_context_init(&server->ws, options->loop, &options->ws);
    *out = server;
    return 0;
}

void http_server_destroy(struct http_server **at)
{
    struct http_server *server = *at;
    *at = NULL;
    if (!server)
        return;
    ws_context_dispose(&server->ws);
    h2o_context_dispose(&server->context);
    h2o_config_dispose(&server->config);
    memory_free(server);
}

void http_server_accept(struct http_server *server, h2o_socket_t *socket)
{
    http_intake_accept(&server->intake, &server->accept, socket);
}

void http_server_flush(struct http_server *server)
{
    http_intake_turn_end(&server->intake);
    ws_context_flush(&server->ws);
}

/* Its read end: h2o sees the client leave. One that has begun to ask is answered first. */
static int end_idle(h2o_req_t *req, void *unused)
{
    (void)unused;
    h2o_socket_t *socket = req->conn->callbacks->get_socket(req->conn);
    if (!req->input.method.base && socket->input->size == 0)
        (void)shutdown(h2o_socket_get_fd(socket), SHUT_RD);
    return 0;
}

void http_server_shut_down(struct http_server *server)
{
    (void)server->config.http1.callbacks.foreach_request(&server->context, end_idle, NULL);
    h2o_context_request_shutdown(&server->context);
}

uint32_t http_server_socket_count(const struct http_server *server)
{
    return server->ws.socket_count;
}

uint32_t http_server_leave(struct http_server *server, uint32_t count_max)
{
    return ws_context_leave(&server->ws, count_max);
}

#include "net/http_intake.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "net/http_reply.h"
#include "src/base/error.h"
#include "src/base/memory.h"

_Static_assert(H2O_LIBRARY_VERSION_MAJOR == 0 && H2O_LIBRARY_VERSION_MINOR == 13,
               "read lib/http1.c of another libh2o before you put yourself into its sockets");

enum { DRAIN_BYTES = 64 << 10 };

struct connection {
    struct http_intake *intake;
    h2o_socket_t *socket;
    const void *http1; /* libh2o's connection: while it is the socket's `data` */
    void (*close_cb)(void *data);
    void *close_data;
    h2o_linklist_t unhooked;
    uint64_t charged_bytes;
    uint32_t drained_bytes;
    bool judged;  /* the head of the request at the front of the buffer was */
    bool refused; /* the answer is sent: what still comes is forgotten */
};

static void on_closed(void *data);

static struct connection *connection_of(h2o_socket_t *socket)
{
    parley_assert(socket->on_close.cb == on_closed);
    return socket->on_close.data;
}

static void release(struct connection *c)
{
    c->intake->bodies_bytes -= c->charged_bytes;
    c->charged_bytes = 0;
}

/* The socket is its next owner's alone. */
static void detach(struct connection *c)
{
    release(c);
    if (h2o_linklist_is_linked(&c->unhooked))
        h2o_linklist_unlink(&c->unhooked);
    c->socket->on_close.cb = c->close_cb;
    c->socket->on_close.data = c->close_data;
    memory_free(c);
}

static void on_closed(void *data)
{
    struct connection *c = data;
    void (*close_cb)(void *) = c->close_cb;
    void *close_data = c->close_data;
    detach(c);
    if (close_cb)
        close_cb(close_data);
}

static int charge(struct connection *c, uint64_t bytes)
{
    struct http_intake *intake = c->intake;
    if (intake->bodies_bytes + bytes > intake->options.bodies_bytes_max)
        return -PARLEY_ERR_FULL;
    intake->bodies_bytes += bytes;
    c->charged_bytes = bytes;
    return 0;
}

/* libh2o's parsed request hides what a proxy in front may have read otherwise, so the raw head is what counts. Without a
 * whole head nothing is judged, and the answer is 0. */
static int judge(struct connection *c)
{
    const struct http_intake_options *o = &c->intake->options;
    const h2o_buffer_t *input = c->socket->input;
    struct http_head head;
    int err = http_head_scan((const uint8_t *)input->bytes, input->size, &head);
    if (err == -PARLEY_ERR_AGAIN)
        return 0;
    c->judged = true;
    if (err || head.content_length <= HTTP_BODY_UNASKED_BYTES_MAX)
        return err;
    if (head.content_length > o->body_bytes_max)
        return -PARLEY_ERR_TOO_LARGE;
    if (head.content_length > input->size - head.head_bytes) {
        err = o->admit(o->owner, &head);
        if (err)
            return err;
    }
    return charge(c, head.content_length);
}

/* libh2o's connection ends its socket. */
static void end(struct connection *c)
{
    c->intake->read(c->socket, h2o_socket_error_closed);
}

static void drain(struct connection *c)
{
    uint8_t forgotten[DRAIN_BYTES];
    ssize_t n = recv(h2o_socket_get_fd(c->socket), forgotten, sizeof forgotten, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->drained_bytes += n > 0 ? (uint32_t)n : 0;
    if (n <= 0 || c->drained_bytes > HTTP_REFUSED_BYTES_MAX)
        end(c);
}

/* libh2o has begun no answer: it waits for the head or the body, and its timer runs. From now on it hears only of the
 * end. */
static void refuse(struct connection *c, int err)
{
    char answer[HTTP_ERROR_ANSWER_BYTES];
    int fd = h2o_socket_get_fd(c->socket);
    size_t len = http_error_answer(answer, err, fault_retry_after_ms(err));
    c->refused = true;
    release(c);
    h2o_buffer_consume(&c->socket->input, c->socket->input->size);
    h2o_socket_dont_read(c->socket, 1);
    if (send(fd, answer, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len || shutdown(fd, SHUT_WR) != 0)
        end(c); /* who reads no answers gets none */
}

static bool line_came(const h2o_socket_t *socket)
{
    const h2o_buffer_t *input = socket->input;
    return memchr(input->bytes + input->size - socket->bytes_read, '\n', socket->bytes_read) != NULL;
}

static void on_read(h2o_socket_t *socket, const char *err)
{
    struct connection *c = connection_of(socket);
    if (c->refused && !err) {
        drain(c);
        return;
    }
    int wrong = err || c->judged || !line_came(socket) ? 0 : judge(c);
    if (wrong)
        refuse(c, wrong);
    else
        c->intake->read(socket, err);
}

void http_intake_init(struct http_intake *intake, const struct http_intake_options *options)
{
    *intake = (struct http_intake){.options = *options};
    h2o_linklist_init_anchor(&intake->unhooked);
}

void http_intake_accept(struct http_intake *intake, h2o_accept_ctx_t *context, h2o_socket_t *socket)
{
    struct connection *c = memory_zalloc(sizeof *c);
    if (!c) {
        h2o_socket_close(socket);
        return;
    }
    c->intake = intake;
    c->socket = socket;
    c->close_cb = socket->on_close.cb;
    c->close_data = socket->on_close.data;
    socket->on_close.cb = on_closed;
    socket->on_close.data = c;
    h2o_accept(context, socket);
    c->http1 = socket->data;
    intake->read = socket->_cb.read;
    socket->_cb.read = on_read;
}

static void on_request_gone(void *slot)
{
    struct connection *c = *(struct connection **)slot;
    release(c);
    c->judged = false;
    if (!h2o_linklist_is_linked(&c->unhooked))
        h2o_linklist_insert(&c->intake->unhooked, &c->unhooked);
}

int http_intake_request(struct http_intake *intake, h2o_req_t *req)
{
    struct connection *c = connection_of(req->conn->callbacks->get_socket(req->conn));
    parley_assert(c->intake == intake);
    int err = c->judged ? 0 : judge(c);
    if (!c->judged) /* libh2o found an end of the head that the grammar does not know */
        err = -PARLEY_ERR_BAD_REQUEST;
    c->judged = true;
    struct connection **slot = h2o_mem_alloc_shared(&req->pool, sizeof(struct connection *), on_request_gone);
    *slot = c;
    return err;
}

/* Reading again, or answering, or another's. */
static void hook(struct connection *c)
{
    h2o_socket_t *socket = c->socket;
    if (socket->data != c->http1) {
        detach(c);
        return;
    }
    if (!socket->_cb.read && !c->judged)
        return; /* 100 Continue is on its way out: later */
    h2o_linklist_unlink(&c->unhooked);
    if (!socket->_cb.read)
        return; /* the next request was whole already */
    socket->_cb.read = on_read;
    int wrong = socket->input->size ? judge(c) : 0;
    if (wrong)
        refuse(c, wrong);
}

void http_intake_turn_end(struct http_intake *intake)
{
    for (h2o_linklist_t *at = intake->unhooked.next, *next; at != &intake->unhooked; at = next) {
        next = at->next;
        hook(H2O_STRUCT_FROM_MEMBER(struct connection, unhooked, at));
    }
}

/* A listener on a real reactor, with clients of its own process: the cap, the lack of descriptors, the ports.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <h2o/socket.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/reactor/listener.h"
#include "src/reactor/reactor.h"

enum { CAP = 2, CONNECTION_MAX = 16, ANSWER_MS = 5000, QUIET_MS = 30, FILES_MAX = 256 };

/* The server greets with one byte; a client that reads it was accepted, one that reads an end was refused. */
struct host {
    struct reactor *reactor;
    struct listener *listener, *second;
    h2o_socket_t *open[CONNECTION_MAX];
    uint32_t open_count, cap, peer_cap;
    _Atomic int port, second_err, bad_err, last_fd; /* last_fd: of the connection that came last */
    _Atomic uint64_t accepted, refused_cap, refused_peer, refused_files, pauses;
};

static struct mailbox_grid *grid;

static void on_client_gone(h2o_socket_t *socket, const char *err)
{
    struct host *host = socket->data;
    if (!err)
        return;
    for (uint32_t i = 0; i < host->open_count; i++)
        if (host->open[i] == socket)
            host->open[i] = host->open[--host->open_count];
    h2o_socket_close(socket);
}

static void on_connection(void *owner, h2o_socket_t *socket, const struct sockaddr *peer)
{
    struct host *host = owner;
    parley_assert(peer->sa_family == AF_INET && host->open_count < CONNECTION_MAX);
    host->open[host->open_count++] = socket;
    socket->data = host;
    host->last_fd = h2o_socket_get_fd(socket);
    ssize_t sent = send(h2o_socket_get_fd(socket), "!", 1, MSG_NOSIGNAL);
    parley_assert(sent == 1);
    h2o_socket_read_start(socket, on_client_gone);
}

static int on_start(void *owner, struct reactor *reactor)
{
    struct host *host = owner;
    struct listener_options options = {.reactor = reactor,
                                       .connection_count_max = host->cap,
                                       .peer_connection_count_max = host->peer_cap,
                                       .owner = host,
                                       .on_connection = on_connection};
    host->reactor = reactor;
    options.address = "localhost"; /* a name, which nobody may look up on a reactor */
    host->bad_err = listener_create(&options, &host->listener);
    options.address = NULL;
    int err = listener_create(&options, &host->listener);
    if (err)
        return err;
    host->port = listener_port(host->listener);
    options.port = listener_port(host->listener);
    host->second_err = listener_create(&options, &host->second); /* as the next reactor does */
    listener_destroy(&host->second);
    return 0;
}

static void on_turn_end(void *owner)
{
    struct host *host = owner;
    struct listener_counters counters;
    listener_counters_read(host->listener, &counters);
    host->accepted = counters.accepted;
    host->refused_cap = counters.refused_cap;
    host->refused_peer = counters.refused_peer;
    host->refused_files = counters.refused_files;
    host->pauses = counters.pauses;
}

static void on_stop(void *owner)
{
    struct host *host = owner;
    listener_stop(host->listener);
    listener_stop(host->listener);
    while (host->open_count > 0)
        h2o_socket_close(host->open[--host->open_count]);
    parley_assert(listener_connection_count(host->listener) == 0);
    listener_destroy(&host->listener);
    parley_assert(!host->listener);
}

static struct reactor *open_host(struct host *host)
{
    struct mailbox_options mailbox_options = {.reactor_count = 1, .request_slots = 2, .live_slots = 2};
    assert_int_equal(mailbox_grid_create(&mailbox_options, &grid), 0);
    struct reactor *reactor = NULL;
    struct reactor_options options = {
        .mailbox = mailbox_grid_at(grid, 0),
        .clock = clock_real(),
        .cpu = REACTOR_CPU_ANY,
        .ring_entries = 8,
        .timer_work_max = 64,
        .hooks = {.owner = host, .on_start = on_start, .on_turn_end = on_turn_end, .on_stop = on_stop},
    };
    assert_int_equal(reactor_create(&options, &reactor), 0);
    assert_int_equal(reactor_start(reactor), 0);
    return reactor;
}

static void close_host(struct reactor *reactor)
{
    reactor_stop(reactor);
    assert_int_equal(reactor_join(reactor), 0);
    reactor_destroy(&reactor);
    mailbox_grid_destroy(&grid);
}

static int new_client(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    return fd;
}

/* From another address of the loopback's. */
static int new_client_from(uint32_t last_byte)
{
    int fd = new_client();
    struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000 + last_byte)};
    assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
    return fd;
}

/* '!' when greeted, 0 when closed, '?' when there was no answer in time. */
static int dial(int fd, int port, int wait_ms)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, wait_ms) != 1)
        return '?';
    char greeting = 0;
    return recv(fd, &greeting, 1, 0) == 1 ? greeting : 0;
}

static void settle(_Atomic uint64_t *counter, uint64_t wanted)
{
    for (int i = 0; i < ANSWER_MS && *counter < wanted; i++)
        usleep(1000);
    assert_int_equal(*counter, wanted);
}

static void beyond_the_cap_a_client_is_closed_at_once(void **state)
{
    (void)state;
    struct host host = {.cap = CAP};
    struct reactor *reactor = open_host(&host);
    int clients[CAP + 1];
    assert_int_equal(host.bad_err, -PARLEY_ERR_BAD_REQUEST);
    assert_int_equal(host.second_err, 0); /* SO_REUSEPORT: the same port again */
    assert_true(host.port > 0);
    for (int i = 0; i < CAP + 1; i++) {
        clients[i] = new_client();
        assert_int_equal(dial(clients[i], host.port, ANSWER_MS), i < CAP ? '!' : 0);
    }
    settle(&host.refused_cap, 1);
    close(clients[0]);
    close(clients[CAP]);
    /* The server learns of the close in its own time. */
    int answer = 0;
    for (int i = 0; i < ANSWER_MS && answer != '!'; i++) {
        usleep(1000);
        clients[0] = new_client();
        answer = dial(clients[0], host.port, ANSWER_MS);
        close(clients[0]);
    }
    assert_int_equal(answer, '!');
    close(clients[1]);
    close_host(reactor);
}

static void one_address_takes_its_share_and_no_more(void **state)
{
    (void)state;
    enum { PEERS = 3 };
    struct host host = {.cap = CONNECTION_MAX, .peer_cap = CAP};
    struct reactor *reactor = open_host(&host);
    int clients[PEERS][CAP + 1];
    for (uint32_t peer = 0; peer < PEERS; peer++)
        for (int i = 0; i < CAP + 1; i++) {
            clients[peer][i] = new_client_from(peer + 1);
            assert_int_equal(dial(clients[peer][i], host.port, ANSWER_MS), i < CAP ? '!' : 0);
        }
    settle(&host.refused_peer, PEERS);
    assert_int_equal(host.refused_cap, 0);
    for (uint32_t peer = 0; peer < PEERS; peer++)
        for (int i = 0; i < CAP + 1; i++)
            close(clients[peer][i]);
    /* His places are free again, as soon as the server learns that he went. */
    int answer = 0;
    for (int i = 0; i < ANSWER_MS && answer != '!'; i++) {
        usleep(1000);
        int again = new_client_from(1);
        answer = dial(again, host.port, ANSWER_MS);
        close(again);
    }
    assert_int_equal(answer, '!');
    close_host(reactor);
}

static void without_descriptors_it_refuses_rests_and_recovers(void **state)
{
    (void)state;
    struct host host = {.cap = CONNECTION_MAX};
    struct reactor *reactor = open_host(&host);
    int taken[FILES_MAX], taken_count = 0;
    int first = new_client(), second = new_client(), third = new_client();
    struct rlimit before, tight = {.rlim_cur = FILES_MAX, .rlim_max = 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    while (taken_count < FILES_MAX && (taken[taken_count] = dup(first)) >= 0)
        taken_count++;
    assert_true(taken_count < FILES_MAX);
    assert_int_equal(dial(second, host.port, ANSWER_MS), 0); /* the reserve: closed, not left hanging */
    settle(&host.refused_files, 1);
    settle(&host.pauses, 1);
    assert_int_equal(dial(third, host.port, QUIET_MS), '?'); /* resting: it waits in the kernel's queue */
    while (taken_count > 0)
        close(taken[--taken_count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    char greeting = 0;
    struct pollfd p = {.fd = third, .events = POLLIN};
    assert_int_equal(poll(&p, 1, ANSWER_MS), 1);
    assert_int_equal(recv(third, &greeting, 1, 0), 1);
    assert_int_equal(greeting, '!');
    settle(&host.accepted, 1);
    close(first);
    close(second);
    close(third);
    close_host(reactor);
}

static void connections_leave_descriptors_to_files(void **state)
{
    (void)state;
    enum { SOFT = 200, LEFT_LEAST = SOFT / 4 - 2 };
    struct host host = {.cap = CONNECTION_MAX};
    struct reactor *reactor = open_host(&host);
    int taken[SOFT], taken_count = 0, clients[3] = {new_client(), new_client(), new_client()};
    struct rlimit before, tight = {.rlim_cur = SOFT, .rlim_max = 0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    tight.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    assert_int_equal(dial(clients[0], host.port, ANSWER_MS), '!');
    do
        taken[taken_count] = dup(clients[0]);
    while (taken[taken_count++] < SOFT - SOFT / 4 - 1);
    assert_int_equal(dial(clients[1], host.port, ANSWER_MS), 0);
    settle(&host.refused_files, 1);
    for (int i = 0; i < LEFT_LEAST; i++)
        assert_true((taken[taken_count++] = dup(clients[0])) >= 0);
    while (taken_count > 0)
        close(taken[--taken_count]);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(dial(clients[2], host.port, ANSWER_MS), '!');
    for (int i = 0; i < 3; i++)
        close(clients[i]);
    close_host(reactor);
}

static void a_reader_who_stalls_holds_little_of_the_kernels_memory(void **state)
{
    (void)state;
    static const char bytes[64 << 10];
    struct host host = {.cap = CONNECTION_MAX};
    struct reactor *reactor = open_host(&host);
    int client = new_client(), unsent = 0;
    assert_int_equal(dial(client, host.port, ANSWER_MS), '!');
    settle(&host.accepted, 1);
    int fd = host.last_fd;
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    while (poll(&p, 1, QUIET_MS) == 1)
        assert_true(send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0);
    assert_int_equal(ioctl(fd, SIOCOUTQNSD, &unsent), 0);
    assert_in_range(unsent, 1, 256 << 10);
    close(client);
    close_host(reactor);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beyond_the_cap_a_client_is_closed_at_once),
        cmocka_unit_test(one_address_takes_its_share_and_no_more),
        cmocka_unit_test(without_descriptors_it_refuses_rests_and_recovers),
        cmocka_unit_test(connections_leave_descriptors_to_files),
        cmocka_unit_test(a_reader_who_stalls_holds_little_of_the_kernels_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

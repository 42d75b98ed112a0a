/* A session that follows a large conversation, over the twin of the socket and two reactors driven by hand: what happens when its
 * user is removed and the event is lost, or comes too early. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "net/chat_follow.h"
#include "net/chat_live.h"
#include "src/base/error.h"
#include "src/base/memory.h"
#include "tests/sim/sim_socket.h"
#include "tests/unit/live_drain.h"

enum { REACTORS = 2, HERE = 0, OWNER = 1, FRAME_BYTES = 4096 };

static struct mailbox_grid *grid;
static struct live_shared *shared;
static struct live *lives[REACTORS];
static struct mailbox *boxes[REACTORS];
static struct jwt_key key;
static struct chat_http chat;
static struct chat_ws door;
static struct ws_context sockets;
static struct ws_socket *ws;
static bool is_member;
static uint64_t judged_count;

static const struct id16 user = {{HERE, 1}}, conversation = {{OWNER, 2}};

static uint16_t reactor_of(void *owner, const struct id16 *of)
{
    (void)owner;
    return of->bytes[0];
}

static struct id16 hash(void *owner, const void *data, size_t len)
{
    (void)owner, (void)data, (void)len;
    return user;
}

static uint64_t now_ms(void *owner)
{
    (void)owner;
    return 1790000000000ull;
}

/* The shards: one large conversation, of which he is a member or not. */
static void submit(void *owner, struct shard_request *request)
{
    (void)owner;
    request->error = 0;
    if (request->kind == SHARD_LARGE) {
        uint8_t *entries = memory_zalloc(LIST_ENTRY_BYTES);
        assert_non_null(entries);
        memcpy(entries, &conversation, sizeof conversation);
        request->page = (struct shard_page){.entries = entries, .len = LIST_ENTRY_BYTES, .count = 1};
    } else if (request->kind == SHARD_CONVERSATION) {
        judged_count++;
        request->error = is_member ? 0 : -PARLEY_ERR_NOT_MEMBER;
        request->summary = (struct conversation_summary){.role = ROLE_MEMBER, .page_count = 9};
    }
    request->answered(request);
}

static void turn(uint16_t i)
{
    live_drain(lives[i], boxes[i]);
    live_turn_end(lives[i]);
    if (i == HERE && ws)
        sim_socket_flush(ws, 0);
    mailbox_flush(boxes[i]);
}

static void turns(void)
{
    for (int round = 0; round < 8; round++)
        for (uint16_t i = 0; i < REACTORS; i++)
            turn(i);
}

static void open_door(void)
{
    static const uint8_t secret[JWT_SECRET_BYTES_MIN] = "a secret of the test";
    assert_int_equal(jwt_key_hs256(&key, secret, sizeof secret), 0);
    chat = (struct chat_http){.router = {NULL, hash, now_ms, submit},
                              .tokens = jwt_verifier_create(&key),
                              .body_reader = json_reader_create(FRAME_BYTES),
                              .open_max = 1};
    sockets = (struct ws_context){.options.out_bytes_max = 4 << 20};
    chat_ws_init(&door, &chat, lives[HERE]);
}

static int set_up(void **state)
{
    (void)state;
    struct mailbox_options mail = {REACTORS, 4, 4};
    assert_int_equal(mailbox_grid_create(&mail, &grid), 0);
    assert_int_equal(live_shared_create(REACTORS, &shared), 0);
    for (uint16_t i = 0; i < REACTORS; i++) {
        boxes[i] = mailbox_grid_at(grid, i);
        mailbox_bind(boxes[i]);
        struct live_options options = {.mailbox = boxes[i],
                                       .reactor_count = REACTORS,
                                       .shared = shared,
                                       .reactor_of = reactor_of,
                                       .room = chat_live_room,
                                       .encode = chat_live_encode};
        assert_int_equal(live_create(&options, &lives[i]), 0);
    }
    open_door();
    is_member = true;
    judged_count = 0;
    return 0;
}

static void unheard(void *owner, void *about)
{
    (void)owner, (void)about;
}

static int tear_down(void **state)
{
    (void)state;
    sim_socket_hang_up(ws, unheard, NULL);
    sim_socket_drop(ws, unheard, NULL);
    ws = NULL;
    turns();
    assert_int_equal(chat.open_count, 0); /* the session is freed */
    chat_ws_dispose(&door);
    json_reader_destroy(&chat.body_reader);
    jwt_verifier_destroy(&chat.tokens);
    for (uint16_t i = 0; i < REACTORS; i++)
        live_destroy(&lives[i]);
    live_shared_destroy(&shared);
    mailbox_grid_destroy(&grid);
    return 0;
}

static void connect_device(void)
{
    struct jwt_claims claims = {.exp_s = 1790000000 + 3600, .sub = "ann", .sub_len = 3};
    char token[JWT_TOKEN_BYTES_MAX], path[JWT_TOKEN_BYTES_MAX + 64];
    static const char accept[28];
    size_t len;
    assert_int_equal(jwt_mint(&key, &claims, token, &len), 0);
    int path_len = snprintf(path, sizeof path, "/v1/ws?access_token=%.*s", (int)len, token);
    h2o_req_t req = {.path = {path, (size_t)path_len}};
    h2o_mem_init_pool(&req.pool);
    chat_ws_begin(&door, &sockets, &req, accept);
    h2o_mem_clear_pool(&req.pool);
    ws = sockets.all[0];
    assert_non_null(ws);
    sim_socket_open(ws);
}

/* How many of the frames that came contain the words; all are read. */
static uint32_t heard(const char *words)
{
    uint32_t count = 0;
    struct sim_frame *frame;
    while ((frame = sim_socket_read(ws)) != NULL) {
        count += strstr(frame->text, words) != NULL;
        free(frame);
        sim_socket_flush(ws, 0);
    }
    return count;
}

static void say(uint64_t id)
{
    static const uint8_t words[] = "text";
    struct event event = {.kind = EVENT_MESSAGE,
                          .id = id,
                          .seq = id,
                          .time_ms = 1,
                          .conversation = conversation,
                          .actor = {words, 4},
                          .client_id = {words, 4},
                          .content_type = {words, 4},
                          .body = {words, 4}};
    live_publish(lives[OWNER], &event, NULL, 0, true, 0);
    turns();
}

static void who_was_removed_unheard_was_told_for_ever(void **state)
{
    (void)state;
    connect_device();
    turns();
    assert_int_equal(heard("hello"), 1);
    say(1);
    assert_int_equal(heard("\"message\""), 1);
    live_lagging(lives[HERE], OWNER);
    turns();
    assert_int_equal(heard("\"lag\""), 1);
    assert_int_equal(judged_count, 2);
    say(2); /* he still is one */
    assert_int_equal(heard("\"message\""), 1);
    is_member = false; /* the event that said so is lost with others */
    live_lagging(lives[HERE], OWNER);
    say(3);
    say(4);
    assert_int_equal(heard("\"message\""), 0);
    assert_int_equal(judged_count, 3);
}

/* Nothing is told between the loss and the judgement; that something was not is told. */
static void what_came_before_the_judgement_is_told_as_lost(void **state)
{
    (void)state;
    connect_device();
    turns();
    assert_int_equal(heard("hello"), 1);
    live_lagging(lives[HERE], OWNER);
    struct event event = {.kind = EVENT_ROLE, .id = 5, .conversation = conversation};
    event.target = event.actor = (struct span){(const uint8_t *)"bob", 3};
    event.role = ROLE_ADMIN;
    live_publish(lives[OWNER], &event, NULL, 0, true, 0);
    live_drain(lives[HERE], boxes[HERE]); /* before the socket tells that it is written */
    turns();
    assert_int_equal(heard("\"lag\""), 2);
    say(6);
    assert_int_equal(heard("\"message\""), 1);
}

static void a_removal_while_he_connected_kept_hello_back(void **state)
{
    (void)state;
    connect_device(); /* his follow is on its way to the owner */
    struct event event = {.kind = EVENT_REMOVED, .id = 7, .conversation = conversation, .target_hash = user};
    event.target = event.actor = (struct span){(const uint8_t *)"ann", 3};
    live_publish(lives[OWNER], &event, NULL, 0, true, 0);
    turns();
    assert_int_equal(heard("hello"), 1);
}

int main(void)
{
#define FOLLOW_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        FOLLOW_TEST(who_was_removed_unheard_was_told_for_ever),
        FOLLOW_TEST(what_came_before_the_judgement_is_told_as_lost),
        FOLLOW_TEST(a_removal_while_he_connected_kept_hello_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

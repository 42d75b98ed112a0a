/* The chat's HTTP door on a real h2o loop, with a router that the test plays: answers that come late, in another order,
 * as errors or not before the client has gone, and memory that runs out at every place. */
#include <setjmp.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "net/http_server.h"
#include "src/base/bytes.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/memory.h"

enum {
    HELD_MAX = 256,
    ANSWER_BYTES = 1 << 20,
    ANSWERS_BYTES_MAX = ANSWER_BYTES / 2,
    NOW_MS = 1000000,
    TURNS = 20
};

static const char SECRET[] = "a secret of more than 32 bytes....";

struct door {
    h2o_loop_t *loop;
    struct http_server *server;
    struct chat_http chat;
    struct shard_request *held[HELD_MAX];
    uint32_t held_count;
    int client;
    char token[JWT_TOKEN_BYTES_MAX + 1], answer[ANSWER_BYTES];
};

static struct door door;

static struct id16 hash(void *owner, const void *data, size_t len)
{
    static const struct hash_key key = {{1}};
    (void)owner;
    return hash_128(&key, data, len);
}

static uint64_t now_ms(void *owner)
{
    (void)owner;
    return NOW_MS;
}

static void submit(void *owner, struct shard_request *request)
{
    (void)owner;
    assert_true(door.held_count < HELD_MAX);
    door.held[door.held_count++] = request;
}

static bool ready(void *owner)
{
    (void)owner;
    return true;
}

static void run_loop(void)
{
    for (int i = 0; i < TURNS; i++)
        assert_int_equal(h2o_evloop_run(door.loop, 0), 0);
}

static void connect_client(void)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    http_server_accept(door.server,
                       h2o_evloop_socket_create(door.loop, pair[0], H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION));
    door.client = pair[1];
}

static int open_door(void **state)
{
    (void)state;
    struct jwt_claims claims = {.exp_s = NOW_MS, .sub_len = 3, .sub = "ann"};
    struct jwt_key key;
    size_t len;
    const struct request_router router = {NULL, hash, now_ms, submit};
    const struct chat_http_options options = {
        .body_bytes_max = 1 << 20, .open_max = 4, .answers_bytes_max = ANSWERS_BYTES_MAX};
    memset(&door, 0, sizeof door);
    assert_int_equal(jwt_key_hs256(&key, (const uint8_t *)SECRET, sizeof SECRET - 1), 0);
    assert_int_equal(jwt_mint(&key, &claims, door.token, &len), 0);
    door.token[len] = 0;
    door.loop = h2o_evloop_create();
    assert_int_equal(chat_http_init(&door.chat, &router, &key, &options), 0);
    struct http_server_options http = {.loop = door.loop,
                                       .chat = &door.chat,
                                       .body_bytes_max = 1 << 20,
                                       .request_timeout_ms = 10000,
                                       .ws = {1 << 20, 4 << 20, 1000},
                                       .ready = ready};
    assert_int_equal(http_server_create(&http, &door.server), 0);
    connect_client();
    return 0;
}

static int close_door(void **state)
{
    (void)state;
    close(door.client);
    run_loop();
    assert_int_equal(door.chat.open_count, 0);
    http_server_destroy(&door.server);
    chat_http_dispose(&door.chat);
    h2o_evloop_destroy(door.loop);
    return 0;
}

static void ask(const char *method, const char *path, const char *body)
{
    char text[4096];
    int len =
        snprintf(text, sizeof text,
                 "%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %zu\r\n\r\n%s",
                 method, path, door.token, strlen(body), body);
    assert_int_equal(send(door.client, text, (size_t)len, MSG_NOSIGNAL), len);
    run_loop();
}

/* What came since, as a text. */
static const char *answer(void)
{
    size_t len = 0;
    ssize_t got;
    run_loop();
    while ((got = recv(door.client, door.answer + len, sizeof door.answer - 1 - len, 0)) > 0) {
        len += (size_t)got;
        run_loop();
    }
    door.answer[len] = 0;
    return door.answer;
}

static void assert_answer(const char *status, const char *words)
{
    const char *have = answer();
    if (strncmp(have + strlen("HTTP/1.1 "), status, 3) != 0 || !strstr(have, words))
        fail_msg("wanted %s ... %s, have: %s", status, words, have);
}

static struct shard_request *take(void)
{
    assert_int_equal(door.held_count, 1);
    door.held_count = 0;
    return door.held[0];
}

static void fill_list(struct shard_request *request, uint32_t count, bool newer)
{
    request->page = (struct shard_page){.entries = memory_zalloc(count * LIST_ENTRY_BYTES + 1),
                                        .len = count * LIST_ENTRY_BYTES,
                                        .count = count,
                                        .newer = newer};
    assert_non_null(request->page.entries);
    for (uint32_t i = 0; i < count; i++)
        request->page.entries[i * LIST_ENTRY_BYTES + 15] = (uint8_t)(i + 1);
}

static void fill_summary(struct shard_request *request)
{
    struct conversation_summary *s = &request->summary;
    *s = (struct conversation_summary){
        .type = CONVERSATION_GROUP, .role = ROLE_ADMIN, .title_len = TITLE_BYTES_MAX};
    memset(s->title, 1, sizeof s->title); /* each is six bytes when it is escaped */
    s->creator_len = USER_ID_BYTES_MAX;
    memset(s->creator, '"', sizeof s->creator);
}

static uint32_t occurrences(const char *text, const char *word)
{
    uint32_t count = 0;
    while ((text = strstr(text, word)) != NULL) {
        count++;
        text++;
    }
    return count;
}

static void a_list_waits_for_all_whatever_their_order(void **state)
{
    (void)state;
    ask("GET", "/v1/conversations?limit=200&after=00000000000000000000000000000001", "");
    struct shard_request *list = take();
    assert_int_equal(list->kind, SHARD_LIST);
    assert_int_equal(list->limit, 200);
    assert_int_equal(list->list_after.bytes[15], 1);
    fill_list(list, 200, true);
    list->answered(list);
    assert_int_equal(door.held_count, 200);
    for (uint32_t i = 0; i < 200; i++) {
        struct shard_request *part = door.held[199 - i];
        assert_int_equal(part->kind, SHARD_CONVERSATION);
        assert_false(part->command.service);
        part->error = i == 7 ? -PARLEY_ERR_NOT_MEMBER : i == 9 ? -PARLEY_ERR_NOT_FOUND : 0;
        fill_summary(part);
        assert_string_equal(answer(), "");
        part->answered(part);
    }
    assert_answer("200", "\"more\":true,\"next\":\"000000000000000000000000000000c8\"}");
    assert_int_equal(occurrences(door.answer, "\"role\":\"admin\""), 198);
    assert_true(strstr(door.answer, "0001\",\"type\"") < strstr(door.answer, "0002\",\"type\""));
}

static void a_list_with_one_refusal_is_refused_once_all_are_back(void **state)
{
    (void)state;
    ask("GET", "/v1/conversations", "");
    struct shard_request *list = take();
    assert_int_equal(list->limit, 50);
    fill_list(list, 3, false);
    list->answered(list);
    for (uint32_t i = 0; i < 3; i++) {
        door.held[i]->error = i == 1 ? -PARLEY_ERR_FULL : 0;
        fill_summary(door.held[i]);
        door.held[i]->answered(door.held[i]);
    }
    assert_answer("503", "\"overloaded\"");
    assert_non_null(strstr(door.answer, "retry_after_ms"));
}

static void an_empty_list_and_a_damaged_one(void **state)
{
    (void)state;
    ask("GET", "/v1/conversations", "");
    take()->answered(door.held[0]);
    assert_answer("200", "{\"conversations\":[],\"more\":false}");
    ask("GET", "/v1/conversations", "");
    struct shard_request *list = take();
    fill_list(list, 2, false);
    list->page.len--;
    list->answered(list);
    assert_answer("500", "\"internal\"");
    assert_int_equal(door.held_count, 0); /* nothing else was asked */
}

static void damage_is_our_own_affair(void **state)
{
    (void)state;
    static const char *const paths[] = {"/v1/conversations/00000000000000000000000000000001/messages",
                                        "/v1/conversations/00000000000000000000000000000001/messages/7",
                                        "/v1/conversations/00000000000000000000000000000001/members"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(paths); i++) {
        ask("GET", paths[i], "");
        struct shard_request *request = take();
        fill_list(request, 1, false); /* no message and no member */
        request->answered(request);
        assert_answer("500", "\"internal\"");
        ask("GET", paths[i], "");
        request = take();
        request->error = -PARLEY_ERR_IO;
        request->answered(request);
        assert_answer("500", "\"internal\"");
    }
}

/* h2o reads nothing while a request is under way, so it learns that the client has gone when it answers him. */
static void who_has_gone_before_the_answer_takes_nothing_with_him(void **state)
{
    (void)state;
    ask("GET", "/v1/conversations", "");
    struct shard_request *list = take();
    close(door.client);
    run_loop();
    fill_list(list, 3, false);
    list->answered(list);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(door.chat.open_count, 1);
        fill_summary(door.held[i]);
        door.held[i]->answered(door.held[i]);
        run_loop();
    }
    door.held_count = 0;
    assert_int_equal(door.chat.open_count, 0);
    connect_client();
    ask("POST", "/v1/conversations/00000000000000000000000000000001/members",
        "{\"client_id\":\"c\",\"user\":\"bob\"}");
    struct shard_request *add = take();
    close(door.client);
    run_loop();
    assert_memory_equal(add->command.target.data, "bob", 3); /* its texts are still there */
    assert_memory_equal(add->command.client_id.data, "c", 1);
    assert_memory_equal(add->command.actor.data, "ann", 3);
    add->answered(add);
    run_loop();
    assert_int_equal(door.chat.open_count, 0);
    connect_client();
}

static void without_memory_each_is_told_to_come_again(void **state)
{
    (void)state;
    static const char create[] = "{\"type\":\"group\",\"client_id\":\"c\",\"members\":[\"bob\",\"carl\"]}";
    for (uint64_t countdown = 0; countdown < 2; countdown++) {
        memory_fail_after(countdown, 1);
        ask("POST", "/v1/conversations", create);
        memory_fail_after(0, 0);
        assert_int_equal(door.held_count, 0);
        assert_answer("503", "\"overloaded\"");
    }
    for (uint64_t countdown = 0; countdown < 2; countdown++) {
        ask("GET", "/v1/conversations", "");
        struct shard_request *list = take();
        fill_list(list, 1, false);
        memory_fail_after(countdown, 1);
        list->answered(list);
        if (countdown == 1) {
            struct shard_request *part = take();
            fill_summary(part);
            part->answered(part);
        }
        memory_fail_after(0, 0);
        assert_answer("503", "\"overloaded\"");
    }
    ask("POST", "/v1/conversations", create);
    assert_int_equal(take()->command.member_count, 2);
    door.held[0]->answered(door.held[0]);
    assert_answer("201", "\"duplicate\":false");
}

/* More than a socket takes, and more than half of what all answers may take. */
static void ask_for_much(void)
{
    ask("GET", "/v1/conversations?limit=200", "");
    struct shard_request *list = take();
    fill_list(list, 200, false);
    list->answered(list);
    for (uint32_t i = 0; i < 200; i++) {
        fill_summary(door.held[i]);
        door.held[i]->answered(door.held[i]);
    }
    door.held_count = 0;
}

static void who_reads_nothing_fills_only_what_answers_may_take(void **state)
{
    (void)state;
    int deaf = door.client;
    ask_for_much();
    assert_in_range(door.chat.answers_bytes, ANSWERS_BYTES_MAX / 2 + 1, ANSWERS_BYTES_MAX);
    connect_client();
    ask_for_much();
    assert_answer("503", "\"overloaded\"");
    ask("GET", "/v1/conversations", ""); /* what is short is answered */
    take()->answered(door.held[0]);
    assert_answer("200", "\"conversations\":[]");
    close(deaf);
    run_loop();
    assert_int_equal(door.chat.answers_bytes, 0);
    ask_for_much();
    assert_answer("200", "\"more\":false");
    assert_int_equal(door.chat.answers_bytes, 0);
}

static void more_than_may_be_open_are_told_to_come_again(void **state)
{
    (void)state;
    int clients[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = door.client;
        ask("GET", "/v1/conversations", "");
        connect_client();
    }
    ask("GET", "/v1/conversations", "");
    assert_answer("503", "\"overloaded\"");
    for (int i = 0; i < 4; i++) {
        door.held[i]->answered(door.held[i]);
        close(clients[i]);
    }
    door.held_count = 0;
    ask("GET", "/v1/conversations", "");
    take()->answered(door.held[0]);
    assert_answer("200", "[]");
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN); /* as the server does */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_list_waits_for_all_whatever_their_order, open_door, close_door),
        cmocka_unit_test_setup_teardown(a_list_with_one_refusal_is_refused_once_all_are_back, open_door,
                                        close_door),
        cmocka_unit_test_setup_teardown(an_empty_list_and_a_damaged_one, open_door, close_door),
        cmocka_unit_test_setup_teardown(damage_is_our_own_affair, open_door, close_door),
        cmocka_unit_test_setup_teardown(who_has_gone_before_the_answer_takes_nothing_with_him, open_door,
                                        close_door),
        cmocka_unit_test_setup_teardown(without_memory_each_is_told_to_come_again, open_door, close_door),
        cmocka_unit_test_setup_teardown(who_reads_nothing_fills_only_what_answers_may_take, open_door,
                                        close_door),
        cmocka_unit_test_setup_teardown(more_than_may_be_open_are_told_to_come_again, open_door, close_door),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

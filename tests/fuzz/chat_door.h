/* tests/fuzz/chat_door.h: the chat's doors on a real h2o loop and a socket pair, with shards that answer as the input says.
 *
 * Why:    what a client can say to a door is fuzzed with the door's own code around it, down to the bytes of the answer.
 * Shape:  chat_door_connect -> chat_door_send -> (the door asks chat_door_submit) -> chat_door_read
 *         `value` says what a shard answers: an error of the table, or one of a few made-up results.
 * Thread: one. The door lives as long as the process; each input has connections of its own.
 */
#ifndef PARLEY_TESTS_FUZZ_CHAT_DOOR_H
#define PARLEY_TESTS_FUZZ_CHAT_DOOR_H

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/chat_live.h"
#include "net/http_server.h"
#include "src/base/error.h"
#include "src/base/hash.h"
#include "src/base/memory.h"
#include "src/base/utf8.h"
#include "src/session/live.h"
#include "tests/fuzz/fuzz.h"

enum {
    DOOR_NOW_MS = 1000000,
    DOOR_BODY_BYTES_MAX = 1 << 14,
    DOOR_ANSWER_BYTES = 1 << 20,
    DOOR_TURNS = 4,
    DOOR_HELD_MAX = 4096
};

struct chat_door {
    h2o_loop_t *loop;
    struct http_server *server;
    struct chat_http chat;
    struct chat_ws ws;
    struct live *live;
    char token[2][JWT_TOKEN_BYTES_MAX + 1]; /* a user's, a service's */
    int client;
    uint8_t value; /* what shards answer */
    bool hold;     /* not at once */
    uint32_t asked, held_count;
    struct shard_request *held[DOOR_HELD_MAX];
    char answer[DOOR_ANSWER_BYTES];
    size_t answer_len;
};

static struct chat_door door;

static inline struct id16 chat_door_hash(void *owner, const void *data, size_t len)
{
    static const struct hash_key key = {{1}};
    (void)owner;
    return hash_128(&key, data, len);
}

static inline uint64_t chat_door_now(void *owner)
{
    (void)owner;
    return DOOR_NOW_MS;
}

static inline void chat_door_fill_messages(struct shard_request *r, uint32_t count)
{
    struct chunk *chunk = NULL;
    int err = chunk_create(&chunk);
    for (uint32_t i = 0; i < count && !err; i++) {
        struct message m = {.id = 7 + i, .seq = 1 + i, .time_ms = DOOR_NOW_MS, .created_at_ms = i * 1000};
        m.sender = r->command.actor;
        m.body = (struct span){(const uint8_t *)"\x01\"\xc3\xa4", 4};
        err = chunk_append(chunk, &m);
    }
    parley_assert(err == 0);
    r->page = (struct shard_page){
        .entries = chunk->bytes, .len = chunk->len, .count = count, .older = r->history.limit & 1};
    chunk->bytes = NULL;
    chunk_destroy(&chunk);
}

static inline void chat_door_fill_entries(struct shard_request *r, uint32_t count)
{
    size_t room = count * (LIST_ENTRY_BYTES + MEMBER_BYTES_MAX);
    struct bytes_writer w = bytes_writer_of(memory_zalloc(room + 1), room);
    struct member member = {.role = ROLE_MEMBER, .user_len = 3, .user = "bob"};
    parley_assert(w.start);
    for (uint32_t i = 0; i < count; i++) {
        if (r->kind == SHARD_LIST) {
            bytes_put_id16(&w, &r->list_after);
            bytes_put_u64(&w, 5 + i);
        } else {
            int err = member_join(&member, 5 + 2 * i);
            parley_assert(err == 0);
            member_put(&w, &member);
            member_leave(&member, 6 + 2 * i);
        }
    }
    member_clear(&member);
    r->page = (struct shard_page){
        .entries = w.start, .len = bytes_writer_len(&w), .count = count, .newer = count & 1};
}

static inline void chat_door_fill(struct shard_request *r)
{
    uint32_t count = door.value % 5;
    switch (r->kind) {
    case SHARD_COMMAND:
        r->id = 9, r->seq = 1, r->duplicate = door.value & 1;
        break;
    case SHARD_HISTORY:
    case SHARD_MESSAGE:
        chat_door_fill_messages(r, r->kind == SHARD_MESSAGE ? 1 : count);
        break;
    case SHARD_MEMBERS:
    case SHARD_LIST:
        chat_door_fill_entries(r, count);
        break;
    case SHARD_CONVERSATION:
        r->summary = (struct conversation_summary){
            .type = CONVERSATION_GROUP, .role = ROLE_OWNER, .members = 1, .page_count = 1};
        r->summary.title_len = TITLE_BYTES_MAX;
        memset(r->summary.title, 1, TITLE_BYTES_MAX);
        break;
    case SHARD_PROFILE:
        r->page = (struct shard_page){
            .entries = memory_zalloc(DISPLAY_NAME_BYTES_MAX), .len = DISPLAY_NAME_BYTES_MAX, .count = 1};
        parley_assert(r->page.entries);
        break;
    default: /* an empty answer does for the rest */
        break;
    }
}

static inline void chat_door_respond(struct shard_request *r)
{
    r->error = door.value >= 128 ? -(1 + (door.value - 128) % (PARLEY_ERR_COUNT - 1)) : 0;
    if (!r->error)
        chat_door_fill(r);
    r->answered(r);
}

/* Whoever a command names is hashed as the shards will look for him, and its texts are there. */
static inline void chat_door_check(const struct shard_request *r)
{
    const struct command *c = &r->command;
    struct id16 hash = chat_door_hash(NULL, c->actor.data, c->actor.len);
    parley_assert(c->actor.len > 0 && memcmp(&hash, &c->actor_hash, sizeof hash) == 0);
    hash = chat_door_hash(NULL, c->target.data, c->target.len);
    parley_assert(c->target.len == 0 || memcmp(&hash, &c->target_hash, sizeof hash) == 0);
    parley_assert(utf8_valid(c->client_id) && utf8_valid(c->title) && utf8_valid(c->target) &&
                  utf8_valid(c->body));
    parley_assert(utf8_valid(c->content_type) && utf8_valid(c->display_name) && utf8_valid(c->device));
    for (uint32_t i = 0; i < c->member_count; i++) {
        hash = chat_door_hash(NULL, c->members[i].user.data, c->members[i].user.len);
        parley_assert(memcmp(&hash, &c->members[i].hash, sizeof hash) == 0 && utf8_valid(c->members[i].user));
    }
    if (r->kind == SHARD_HISTORY)
        parley_assert(r->history.limit >= 1 && r->history.limit <= HISTORY_LIMIT_MAX);
    if (r->kind == SHARD_LIST)
        parley_assert(r->limit >= 1 && r->limit <= LIST_LIMIT_MAX);
}

static inline void chat_door_submit(void *owner, struct shard_request *r)
{
    (void)owner;
    chat_door_check(r);
    door.asked++;
    if (door.hold && door.held_count < DOOR_HELD_MAX)
        door.held[door.held_count++] = r;
    else
        chat_door_respond(r);
}

static inline void chat_door_release(void)
{
    door.hold = false;
    for (uint32_t i = 0; i < door.held_count; i++)
        chat_door_respond(door.held[i]);
    door.held_count = 0;
}

static inline bool chat_door_ready(void *owner)
{
    (void)owner;
    return true;
}

static inline uint16_t chat_door_reactor_of(void *owner, const struct id16 *key)
{
    (void)owner, (void)key;
    return 0;
}

static inline void chat_door_open_live(void)
{
    static struct mailbox_grid *grid;
    static struct live_shared *shared;
    struct mailbox_options mail = {1, 16, 16};
    int err = mailbox_grid_create(&mail, &grid);
    if (!err)
        err = live_shared_create(1, &shared);
    parley_assert(err == 0);
    mailbox_bind(mailbox_grid_at(grid, 0));
    struct live_options options = {.mailbox = mailbox_grid_at(grid, 0),
                                   .reactor_count = 1,
                                   .shared = shared,
                                   .reactor_of = chat_door_reactor_of,
                                   .room = chat_live_room,
                                   .encode = chat_live_encode};
    err = live_create(&options, &door.live);
    parley_assert(err == 0);
}

static inline void chat_door_open(void)
{
    static const char secret[] = "a secret of more than 32 bytes....";
    const struct request_router router = {NULL, chat_door_hash, chat_door_now, chat_door_submit};
    struct jwt_key key;
    signal(SIGPIPE, SIG_IGN);
    int err = jwt_key_hs256(&key, secret, sizeof secret - 1);
    for (int i = 0; i < 2 && !err; i++) {
        struct jwt_claims claims = {
            .exp_s = DOOR_NOW_MS, .sub_len = 3, .sub = "ann", .device_len = 1, .device = "d"};
        size_t len = 0;
        if (i == 1)
            claims.scope_len = 7, memcpy(claims.scope, "service", 7);
        err = jwt_mint(&key, &claims, door.token[i], &len);
    }
    door.loop = h2o_evloop_create();
    if (!err)
        err = chat_http_init(&door.chat, &router, &key,
                             &(struct chat_http_options){.body_bytes_max = DOOR_BODY_BYTES_MAX,
                                                         .open_max = DOOR_HELD_MAX,
                                                         .answers_bytes_max = 1 << 20});
    parley_assert(err == 0);
    chat_door_open_live();
    chat_ws_init(&door.ws, &door.chat, door.live);
    struct http_server_options options = {.loop = door.loop,
                                          .chat = &door.chat,
                                          .chat_ws = &door.ws,
                                          .body_bytes_max = DOOR_BODY_BYTES_MAX,
                                          .request_timeout_ms = 10000,
                                          .ws = {DOOR_BODY_BYTES_MAX, 4 << 20, 1000, 0},
                                          .ready = chat_door_ready};
    err = http_server_create(&options, &door.server);
    parley_assert(err == 0);
}

static inline void chat_door_turn(void)
{
    for (int i = 0; i < DOOR_TURNS; i++) {
        h2o_evloop_run(door.loop, 0);
        live_turn_end(door.live);
        http_server_flush(door.server);
    }
}

static inline void chat_door_connect(void)
{
    int pair[2];
    if (!door.server)
        chat_door_open();
    int err = socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair);
    parley_assert(err == 0);
    http_server_accept(door.server,
                       h2o_evloop_socket_create(door.loop, pair[0], H2O_SOCKET_FLAG_IS_ACCEPTED_CONNECTION));
    door.client = pair[1];
    door.asked = door.held_count = 0;
    door.hold = false;
}

/* All of it, unless the door hangs up meanwhile. */
static inline void chat_door_send(struct span bytes)
{
    while (bytes.len) {
        ssize_t n = send(door.client, bytes.data, bytes.len, MSG_NOSIGNAL);
        chat_door_turn();
        if (n < 0)
            return;
        bytes = (struct span){bytes.data + n, bytes.len - (size_t)n};
    }
}

/* What came since, with a zero behind it. */
static inline struct span chat_door_read(void)
{
    ssize_t n;
    door.answer_len = 0;
    chat_door_turn();
    while ((n = recv(door.client, door.answer + door.answer_len, sizeof door.answer - 1 - door.answer_len,
                     0)) > 0) {
        door.answer_len += (size_t)n;
        chat_door_turn();
    }
    door.answer[door.answer_len] = 0;
    return (struct span){(uint8_t *)door.answer, door.answer_len};
}

/* Nothing is left behind: no request, no session. */
static inline void chat_door_close(void)
{
    close(door.client);
    chat_door_turn();
    chat_door_release();
    chat_door_turn();
    parley_assert(door.chat.open_count == 0);
}

#endif

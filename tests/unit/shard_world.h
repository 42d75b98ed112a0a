/* tests/unit/shard_world.h: one shard on a simulated disk, store and reader pool, and what a client knows of it.
 *
 * Why:    every test of the shard needs the same world: turns, crashes, requests, and a check of all that was acknowledged.
 * Shape:  world_open -> turn/settle -> ask, submit_send -> world_crash -> check_conversation. `options` may be changed
 *         before any world_open.
 * Thread: one; the clock stands still until a test moves it.
 */
#ifndef PARLEY_TESTS_SHARD_WORLD_H
#define PARLEY_TESTS_SHARD_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/shard.h"
#include "storage/reader_pool.h"
#include "tests/lib/sim_file.h"
#include "tests/sim/sim_store.h"

enum { USERS = 5, SENDS_MAX = 16000, LIVE_MAX = 6000 };

/* A message that a client sends until it knows. */
struct sent {
    struct shard_request request;
    struct id16 conversation;
    char client_id[16];
    char *body;
    size_t body_len;
    uint32_t user;
    bool answered, acked;
    uint64_t id, seq;
};

struct live {
    struct id16 id;
    uint64_t seq; /* of the last live event; UINT64_MAX: not known */
};

struct world {
    struct sim_file *sim;
    struct clock_manual clock;
    struct reader_pool *pool;
    struct shard *shard;
    struct shard_options options;
    struct log_report report;
    struct id16 conversation; /* that the helpers below mean */
    struct sent *sends;
    uint32_t send_count;
    struct live *live;
    uint32_t live_count, live_hint;
    uint64_t last_id; /* the highest that was given */
    uint32_t lost_members;
    bool fatal, muted;
};

static const char *const names[USERS] = {"ann", "bob", "cid", "dora", "eve"};
static const struct hash_key key = {{7}};
static const struct sim_store_odds calm = {1000, 100, 0, 1000};
static const struct sim_store_odds rough = {300, 100, 400, 400};

static inline struct span words(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static inline struct id16 hash_of(const char *s)
{
    return hash_128(&key, s, strlen(s));
}

static inline void on_fatal(void *owner, int err, const char *what)
{
    struct world *w = owner;
    (void)err, (void)what;
    w->fatal = true;
}

static inline struct live *live_of(struct world *w, const struct id16 *id)
{
    for (uint32_t i = 0; i < w->live_count; i++) {
        struct live *live = &w->live[(w->live_hint + i) % w->live_count];
        if (!same_id(&live->id, id))
            continue;
        w->live_hint = (uint32_t)(live - w->live);
        return live;
    }
    assert_true(w->live_count < LIVE_MAX);
    w->live[w->live_count] = (struct live){*id, UINT64_MAX};
    return &w->live[w->live_count++];
}

/* Live events are in order and lack none; ids rise. */
static inline void on_applied(void *owner, const struct shard_effect *effect)
{
    const struct event *event = effect->event;
    struct world *w = owner;
    assert_true(event->id > w->last_id);
    w->last_id = event->id;
    if (effect->conversation && effect->conversation->applied.page_count <= MACHINE_FANOUT_PAGES_MAX)
        w->lost_members += effect->conversation->applied.page_count - effect->page_count;
    if (event->kind != EVENT_MESSAGE)
        return;
    struct live *live = live_of(w, &event->conversation);
    if (live->seq != UINT64_MAX)
        assert_int_equal(event->seq, live->seq + 1);
    live->seq = event->seq;
}

static inline int world_open(struct world *w)
{
    w->options.files = sim_file_layer(w->sim);
    w->report = (struct log_report){0};
    int err = shard_open(&w->options, &w->report, &w->shard);
    if (err && !w->muted)
        print_message("open: %s %s\n", parley_err_code(err), w->report.text);
    return err;
}

static inline void turn(struct world *w)
{
    reader_pool_poll(w->pool, 0);
    shard_turn_end(w->shard);
    sim_file_layer(w->sim)->ops->poll(sim_file_layer(w->sim), false);
}

/* Turns of the loop until nothing waits. */
static inline void settle(struct world *w)
{
    for (int i = 0; i < 2000 && (shard_waiting_count(w->shard) || i < 3); i++)
        turn(w);
    assert_int_equal(shard_waiting_count(w->shard), 0);
}

static inline struct shard_counters counters(const struct world *w)
{
    struct shard_counters c;
    shard_counters_read(w->shard, &c);
    return c;
}

static inline uint64_t dice(struct world *w, uint64_t below)
{
    return sim_file_random(w->sim) % below;
}

/* Turns until everything is written back and flushed, and the log is trimmed. */
static inline void rest(struct world *w)
{
    for (int i = 0; i < 4000; i++) {
        clock_manual_advance(&w->clock, 100000000);
        turn(w);
        if (counters(w).dirty_objects == 0 && i > 60)
            break;
    }
    assert_int_equal(counters(w).dirty_objects, 0);
}

static inline int world_set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->sends = calloc(SENDS_MAX, sizeof *w->sends);
    w->live = calloc(LIVE_MAX, sizeof *w->live);
    w->sim = sim_file_create(42);
    sim_store_set(&calm, 42);
    sim_store_set_pressure(STORE_FINE);
    sim_store_set_full(0);
    assert_int_equal(reader_pool_create(&(struct reader_pool_options){.reactor_count = 1}, &w->pool), 0);
    clock_manual_init(&w->clock, 1790000000000ull, 0);
    w->options = (struct shard_options){.number = 3,
                                        .log_dir = "/log",
                                        .segment_bytes = 64 << 10,
                                        .store_dir = "/store",
                                        .pool = w->pool,
                                        .memory_bytes_max = 1 << 20,
                                        .dirty_bytes_max = 16 << 10,
                                        .log_bytes_max = 512 << 10,
                                        .key = key,
                                        .clock = &w->clock.source,
                                        .limits = {100, 1000, 32 << 10, 200},
                                        .dedup = {7ull * 86400 * 1000, 100000},
                                        .lease_ms = 5000,
                                        .request_count_max = 64,
                                        .owner = w,
                                        .on_applied = on_applied,
                                        .on_fatal = on_fatal};
    *state = w;
    return world_open(w);
}

static inline int world_tear_down(void **state)
{
    struct world *w = *state;
    sim_store_set_full(0);
    sim_store_set(&calm, 1); /* a close waits for jobs and batches */
    shard_close(&w->shard);
    reader_pool_destroy(&w->pool);
    sim_store_forget();
    sim_file_destroy(&w->sim);
    for (uint32_t i = 0; i < w->send_count; i++)
        free(w->sends[i].body);
    free(w->live);
    free(w->sends);
    free(w);
    return 0;
}

#define ON_A_SHARD(test) cmocka_unit_test_setup_teardown(test, world_set_up, world_tear_down)

/* The process dies. What it would have answered is not heard; its store and disk lose what was not flushed or synced. */
static inline void world_kill(struct world *w)
{
    sim_file_crash(w->sim, true);
    sim_store_crash();
    for (uint32_t i = 0; i < w->send_count; i++)
        w->sends[i].answered = false;
    shard_close(&w->shard);
    sim_file_restart(w->sim);
    for (uint32_t i = 0; i < w->live_count; i++)
        w->live[i].seq = UINT64_MAX;
    w->fatal = false;
}

static inline void world_crash(struct world *w, int64_t clock_step_ms)
{
    world_kill(w);
    clock_manual_step_wall(&w->clock, clock_step_ms);
    assert_int_equal(world_open(w), 0);
}

static inline void world_restart(struct world *w)
{
    shard_close(&w->shard);
    assert_int_equal(world_open(w), 0);
}

/* -- requests */

static inline void keep_answer(struct shard_request *request)
{
    *(bool *)request->owner = true;
}

static inline struct command by(const char *actor, const char *client_id)
{
    return (struct command){
        .actor = words(actor), .actor_hash = hash_of(actor), .client_id = words(client_id)};
}

/* One command, committed. */
static inline int ask_for(struct world *w, struct command command, struct shard_request *out)
{
    bool answered = false;
    *out = (struct shard_request){
        .command = command, .done = keep_answer, .kind = SHARD_COMMAND, .owner = &answered};
    shard_submit(w->shard, out);
    settle(w);
    assert_true(answered);
    return out->error;
}

static inline int ask(struct world *w, struct command command, uint64_t *id)
{
    struct shard_request request;
    int err = ask_for(w, command, &request);
    if (id)
        *id = request.id;
    return err;
}

static inline struct id16 hash_callback(void *owner, const void *data, size_t len)
{
    (void)owner;
    return hash_128(&key, data, len);
}

static inline struct id16 group_id(enum conversation_type type, const char *creator, const char *client_id)
{
    struct hasher hasher = {NULL, hash_callback};
    return conversation_id_group(&hasher, type, words(creator), words(client_id));
}

/* A group of all the names, made by ann; it becomes the world's conversation. */
static inline int create_group(struct world *w, const char *client_id, uint64_t *id)
{
    struct command_member members[USERS];
    struct command c = by("ann", client_id);
    for (int i = 0; i < USERS; i++)
        members[i] = (struct command_member){.user = words(names[i]), .hash = hash_of(names[i])};
    c.kind = COMMAND_CREATE;
    c.type = CONVERSATION_GROUP;
    c.title = words("the group");
    c.members = members;
    c.member_count = USERS;
    c.conversation = w->conversation = group_id(c.type, "ann", client_id);
    return ask(w, c, id);
}

static inline struct command about(struct world *w, enum command_kind kind, const char *actor,
                                   const char *client_id, const char *target)
{
    struct command c = by(actor, client_id);
    c.kind = kind;
    c.conversation = w->conversation;
    c.target = words(target);
    c.target_hash = hash_of(target);
    return c;
}

static inline void sent_done(struct shard_request *request)
{
    struct sent *m = request->owner;
    assert_false(m->answered);
    m->answered = true;
    if (request->error)
        return;
    if (m->acked) { /* a retry gets the first result */
        assert_int_equal(m->id, request->id);
        assert_int_equal(m->seq, request->seq);
    }
    m->acked = true;
    m->id = request->id;
    m->seq = request->seq;
}

static inline struct command send_command(const struct sent *m)
{
    struct command c = by(names[m->user], m->client_id);
    c.kind = COMMAND_SEND;
    c.conversation = m->conversation;
    c.content_type = words("text/plain");
    c.body = (struct span){(const uint8_t *)m->body, m->body_len};
    return c;
}

static inline void submit_send(struct world *w, struct sent *m)
{
    m->answered = false;
    m->request = (struct shard_request){.command = send_command(m), .done = sent_done, .owner = m};
    shard_submit(w->shard, &m->request);
}

/* With a body of about so many bytes. */
static inline struct sent *new_send_of(struct world *w, size_t body_len)
{
    assert_true(w->send_count < SENDS_MAX);
    struct sent *m = &w->sends[w->send_count++];
    char head[48];
    m->conversation = w->conversation;
    m->user = (uint32_t)dice(w, USERS);
    snprintf(m->client_id, sizeof m->client_id, "m%u", w->send_count);
    snprintf(head, sizeof head, "body %u of %s", w->send_count, names[m->user]);
    m->body_len = strlen(head) > body_len ? strlen(head) : body_len;
    m->body = malloc(m->body_len + 1);
    memset(m->body, 'x', m->body_len);
    memcpy(m->body, head, strlen(head));
    return m;
}

static inline struct sent *new_send(struct world *w)
{
    return new_send_of(w, 0);
}

/* Sends until it is acknowledged. */
static inline struct sent *send_one(struct world *w, size_t body_len)
{
    struct sent *m = new_send_of(w, body_len);
    for (int tries = 0; !m->acked && tries < 100; tries++) { /* it was full: later */
        clock_manual_advance(&w->clock, tries ? 100000000 : 0);
        submit_send(w, m);
        settle(w);
    }
    if (!m->acked)
        fail_msg("not sent: %s", parley_err_code(m->request.error));
    return m;
}

static inline void send_in_order(struct world *w, uint32_t count, size_t body_len)
{
    for (uint32_t i = 0; i < count; i++)
        send_one(w, body_len);
}

/* Many at once; what is refused is sent again later, so they may change places. */
static inline void send_many(struct world *w, uint32_t count, size_t body_len)
{
    for (uint32_t i = 0; i < count; i++) {
        struct sent *m = new_send_of(w, body_len);
        submit_send(w, m);
        for (int tries = 0; (i % 16 == 15 || i + 1 == count || m->answered) && tries < 3; tries++)
            turn(w);
    }
    settle(w);
    for (uint32_t i = w->send_count - count; i < w->send_count; i++) {
        for (int tries = 0; !w->sends[i].acked && tries < 100; tries++) { /* it was full: later */
            clock_manual_advance(&w->clock, 100000000);
            submit_send(w, &w->sends[i]);
            settle(w);
        }
        assert_true(w->sends[i].acked);
    }
}

/* Reads as ann, through whatever memory and store say; the page is the caller's. */
static inline int read_as_ann(struct world *w, enum shard_request_kind kind, struct history_query query,
                              const char *client_id, struct shard_page *page)
{
    bool answered = false;
    struct shard_request request = {.command = by("ann", client_id),
                                    .done = keep_answer,
                                    .kind = kind,
                                    .history = query,
                                    .owner = &answered};
    request.command.conversation = w->conversation;
    shard_submit(w->shard, &request);
    settle(w);
    assert_true(answered);
    *page = request.page;
    if (request.error) {
        memory_free(request.page.entries);
        *page = (struct shard_page){0};
    }
    return request.error;
}

/* One message against what was sent. */
static inline struct sent *check_message(struct world *w, const struct message *m)
{
    char client_id[CLIENT_ID_BYTES_MAX + 1] = {0};
    memcpy(client_id, m->client_id.data, m->client_id.len);
    unsigned long number = strtoul(client_id + 1, NULL, 10);
    assert_in_range(number, 1, w->send_count);
    struct sent *s = &w->sends[number - 1];
    assert_true(same_id(&s->conversation, &w->conversation));
    assert_int_equal(m->body.len, s->body_len);
    assert_memory_equal(m->body.data, s->body, m->body.len);
    if (s->acked) {
        assert_int_equal(m->id, s->id);
        assert_int_equal(m->seq, s->seq);
    }
    return s;
}

/* What is in the conversation, page by page, against what was acknowledged. */
static inline void check_conversation(struct world *w)
{
    uint64_t seq = 0, id = 0, found = 0, acked = 0;
    for (bool more = true; more;) {
        struct history_query query = {HISTORY_AFTER, id, 7 + (uint32_t)(seq % 60)};
        struct shard_page page;
        struct message m;
        assert_int_equal(read_as_ann(w, SHARD_HISTORY, query, "", &page), 0);
        struct chunk_cursor at = chunk_begin((struct span){page.entries, page.len});
        uint32_t count = 0;
        for (; chunk_next(&at, &m) == 0; count++) {
            assert_int_equal(m.seq, ++seq);
            assert_true(m.id > id);
            id = m.id;
            found += check_message(w, &m)->acked;
        }
        assert_int_equal(count, page.count);
        more = page.newer;
        assert_true(count > 0 || !more);
        memory_free(page.entries);
    }
    for (uint32_t i = 0; i < w->send_count; i++)
        acked += w->sends[i].acked && same_id(&w->sends[i].conversation, &w->conversation);
    assert_int_equal(found, acked);
}

static inline struct conversation_summary summary_of(struct world *w)
{
    bool answered = false;
    struct shard_request request = {
        .command = by("ann", ""), .done = keep_answer, .kind = SHARD_CONVERSATION, .owner = &answered};
    request.command.conversation = w->conversation;
    request.command.service = true;
    shard_submit(w->shard, &request);
    settle(w);
    assert_true(answered);
    assert_int_equal(request.error, 0);
    return request.summary;
}

#endif

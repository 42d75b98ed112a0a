/* A shard on a simulated disk and a simulated store: whatever is acknowledged is there after every crash, once, in order. */
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

enum { USERS = 5, SENDS_MAX = 4000, BODY_MAX = 64 };

struct sent {
    struct shard_request request;
    char client_id[16], body[BODY_MAX];
    uint32_t user;
    bool answered, acked;
    uint64_t id, seq;
};

struct world {
    struct sim_file *sim;
    struct clock_manual clock;
    struct reader_pool *pool;
    struct shard *shard;
    uint64_t memory_bytes_max;
    struct id16 conversation;
    struct sent *sends;
    uint32_t send_count;
    uint64_t last_live_seq;
    bool fatal;
};

static const char *const names[USERS] = {"ann", "bob", "cid", "dora", "eve"};
static const struct hash_key key = {{7}};
static const struct sim_store_odds calm = {1000, 100, 0, 1000};
static const struct sim_store_odds rough = {300, 100, 400, 400};

static struct span words(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static struct id16 hash_of(const char *s)
{
    return hash_128(&key, s, strlen(s));
}

static void on_fatal(void *owner, int err, const char *what)
{
    struct world *w = owner;
    (void)err;
    (void)what;
    w->fatal = true;
}

static void on_applied(void *owner, const struct shard_effect *effect)
{
    const struct event *event = effect->event;
    struct world *w = owner;
    if (event->kind != EVENT_MESSAGE)
        return;
    assert_int_equal(event->seq, w->last_live_seq + 1); /* live events are in order and lack none */
    w->last_live_seq = event->seq;
}

static int open_shard(struct world *w)
{
    struct log_report report = {0};
    struct shard_options options = {.number = 3,
                                    .log_dir = "/log",
                                    .files = sim_file_layer(w->sim),
                                    .segment_bytes = 64 << 10,
                                    .store_dir = "/store",
                                    .pool = w->pool,
                                    .memory_bytes_max = w->memory_bytes_max,
                                    .dirty_bytes_max = 16 << 10,
                                    .log_bytes_max = 512 << 10,
                                    .key = key,
                                    .clock = &w->clock.source,
                                    .limits = {100, 1000, 4096, 200},
                                    .dedup = {7ull * 86400 * 1000, 100000},
                                    .lease_ms = 5000,
                                    .request_count_max = 64,
                                    .owner = w,
                                    .on_applied = on_applied,
                                    .on_fatal = on_fatal};
    int err = shard_open(&options, &report, &w->shard);
    if (err)
        print_message("open: %s %s\n", parley_err_code(err), report.text);
    return err;
}

static void turn(struct world *w)
{
    reader_pool_poll(w->pool, 0);
    shard_turn_end(w->shard);
    sim_file_layer(w->sim)->ops->poll(sim_file_layer(w->sim), false);
}

/* Turns of the loop until nothing waits. */
static void settle(struct world *w)
{
    for (int i = 0; i < 1000 && (shard_waiting_count(w->shard) || i < 3); i++)
        turn(w);
    assert_int_equal(shard_waiting_count(w->shard), 0);
}

static void keep_answer(struct shard_request *request)
{
    *(bool *)request->owner = true;
}

/* One command, committed. */
static int ask(struct world *w, struct command command, uint64_t *id)
{
    bool answered = false;
    struct shard_request request = {
        .command = command, .done = keep_answer, .kind = SHARD_COMMAND, .owner = &answered};
    shard_submit(w->shard, &request);
    settle(w);
    assert_true(answered);
    if (id)
        *id = request.id;
    return request.error;
}

static struct command by(const char *actor, const char *client_id)
{
    return (struct command){
        .actor = words(actor), .actor_hash = hash_of(actor), .client_id = words(client_id)};
}

static struct id16 hash_callback(void *owner, const void *data, size_t len)
{
    (void)owner;
    return hash_128(&key, data, len);
}

static int create(struct world *w, uint64_t *id)
{
    struct command_member members[USERS];
    struct hasher hasher = {NULL, hash_callback};
    struct command c = by("ann", "creation-1");
    for (int i = 0; i < USERS; i++)
        members[i] = (struct command_member){.user = words(names[i]), .hash = hash_of(names[i])};
    c.kind = COMMAND_CREATE;
    c.type = CONVERSATION_GROUP;
    c.title = words("the group");
    c.members = members;
    c.member_count = USERS;
    c.conversation = w->conversation = conversation_id_group(&hasher, c.type, c.actor, c.client_id);
    return ask(w, c, id);
}

static void sent_done(struct shard_request *request)
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

static void submit_send(struct world *w, struct sent *m)
{
    const char *actor = names[m->user];
    m->answered = false;
    m->request = (struct shard_request){.command = by(actor, m->client_id), .done = sent_done, .owner = m};
    m->request.command.kind = COMMAND_SEND;
    m->request.command.conversation = w->conversation;
    m->request.command.content_type = words("text/plain");
    m->request.command.body = words(m->body);
    shard_submit(w->shard, &m->request);
}

static struct sent *new_send(struct world *w)
{
    assert_true(w->send_count < SENDS_MAX);
    struct sent *m = &w->sends[w->send_count++];
    m->user = (uint32_t)(sim_file_random(w->sim) % USERS);
    snprintf(m->client_id, sizeof m->client_id, "m%u", w->send_count);
    snprintf(m->body, sizeof m->body, "body %u of %s", w->send_count, names[m->user]);
    return m;
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->sends = calloc(SENDS_MAX, sizeof *w->sends);
    w->sim = sim_file_create(42);
    w->memory_bytes_max = 1 << 20;
    sim_store_set(&calm, 42);
    sim_store_set_pressure(STORE_FINE);
    assert_int_equal(reader_pool_create(&(struct reader_pool_options){.reactor_count = 1}, &w->pool), 0);
    clock_manual_init(&w->clock, 1790000000000ull, 0);
    *state = w;
    return open_shard(w);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    shard_close(&w->shard);
    reader_pool_destroy(&w->pool);
    sim_store_forget();
    sim_file_destroy(&w->sim);
    free(w->sends);
    free(w);
    return 0;
}

/* Reads as ann, through whatever memory and store say; the page is the caller's. */
static int read_as_ann(struct world *w, enum shard_request_kind kind, struct history_query query,
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
    if (request.error)
        memory_free(request.page.entries);
    return request.error;
}

/* One message against what was sent. */
static void check_message(struct world *w, const struct message *m, uint64_t *found)
{
    char client_id[16] = {0};
    memcpy(client_id, m->client_id.data, m->client_id.len);
    struct sent *s = &w->sends[strtoul(client_id + 1, NULL, 10) - 1];
    assert_int_equal(m->body.len, strlen(s->body));
    assert_memory_equal(m->body.data, s->body, m->body.len);
    if (!s->acked)
        return;
    assert_int_equal(m->id, s->id);
    assert_int_equal(m->seq, s->seq);
    (*found)++;
}

/* What is in the conversation, page by page, against what was acknowledged. */
static void check(struct world *w)
{
    uint64_t seq = 0, id = 0, found = 0, acked = 0;
    for (bool more = true; more;) {
        struct shard_page page;
        struct message m;
        assert_int_equal(read_as_ann(w, SHARD_HISTORY,
                                     (struct history_query){HISTORY_AFTER, id, 7 + (uint32_t)(seq % 60)}, "",
                                     &page),
                         0);
        struct chunk_cursor at = chunk_begin((struct span){page.entries, page.len});
        uint32_t count = 0;
        for (; chunk_next(&at, &m) == 0; count++) {
            assert_int_equal(m.seq, ++seq);
            assert_true(m.id > id);
            id = m.id;
            check_message(w, &m, &found);
        }
        assert_int_equal(count, page.count);
        more = page.newer;
        assert_true(count > 0 || !more);
        memory_free(page.entries);
    }
    for (uint32_t i = 0; i < w->send_count; i++)
        acked += w->sends[i].acked;
    assert_int_equal(found, acked);
}

static uint64_t last_seq(struct world *w)
{
    bool answered = false;
    struct shard_request request = {
        .command = by("ann", ""), .done = keep_answer, .kind = SHARD_CONVERSATION, .owner = &answered};
    request.command.conversation = w->conversation;
    shard_submit(w->shard, &request);
    settle(w);
    assert_true(answered && !request.error);
    return request.summary.last_seq;
}

static void crash(struct world *w, int64_t clock_step_ms)
{
    sim_file_crash(w->sim, true);
    sim_store_crash();
    /* The process is gone: what it would have answered is not heard. */
    for (uint32_t i = 0; i < w->send_count; i++)
        w->sends[i].answered = false;
    shard_close(&w->shard);
    sim_file_restart(w->sim);
    clock_manual_step_wall(&w->clock, clock_step_ms);
    assert_int_equal(open_shard(w), 0);
    w->last_live_seq = last_seq(w);
}

static void creating_twice_creates_once(void **state)
{
    struct world *w = *state;
    uint64_t first, second;
    assert_int_equal(create(w, &first), 0);
    uint32_t objects = shard_object_count(w->shard);
    assert_int_equal(create(w, &second), 0);
    assert_int_equal(first, second);
    assert_int_equal(shard_object_count(w->shard), objects);
}

static void a_retry_is_answered_and_another_payload_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(create(w, NULL), 0);
    struct sent *m = new_send(w);
    submit_send(w, m);
    assert_false(m->answered); /* not before it is durable */
    settle(w);
    assert_true(m->acked);
    submit_send(w, m);
    assert_true(m->request.duplicate);
    struct sent other = *m;
    snprintf(other.body, sizeof other.body, "something else");
    submit_send(w, &other);
    assert_int_equal(other.request.error, -PARLEY_ERR_CONFLICT);
    check(w);
}

static void asking_for_nothing_costs_nothing(void **state)
{
    struct world *w = *state;
    uint32_t objects = shard_object_count(w->shard);
    for (int i = 0; i < 1000; i++) {
        struct command c = by("ann", "x");
        c.kind = COMMAND_SEND;
        c.conversation = hash_128(&key, &i, sizeof i);
        c.content_type = words("text/plain");
        c.body = words("hello?");
        assert_true(ask(w, c, NULL) != 0);
    }
    assert_int_equal(shard_object_count(w->shard), objects);
}

static void too_many_waiting_are_refused(void **state)
{
    struct world *w = *state;
    assert_int_equal(create(w, NULL), 0);
    uint32_t refused = 0;
    for (int i = 0; i < 100; i++) {
        struct sent *m = new_send(w);
        submit_send(w, m);
        refused += m->request.error == -PARLEY_ERR_FULL;
    }
    assert_int_equal(refused, 36);
    settle(w);
    check(w);
}

static void crashes_lose_nothing_that_was_acknowledged(void **state)
{
    struct world *w = *state;
    assert_int_equal(create(w, NULL), 0);
    sim_store_set(&rough, 7);
    for (int round = 0; round < 60; round++) {
        /* Sometimes everything fits into memory, sometimes nothing does. */
        w->memory_bytes_max = round % 2 ? 1 << 20 : 0;
        for (int step = 0; step < 30; step++) {
            uint64_t dice = sim_file_random(w->sim) % 10;
            sim_file_hold(w->sim, dice < 5);
            struct sent *old = w->send_count ? &w->sends[sim_file_random(w->sim) % w->send_count] : NULL;
            if (dice == 0 && old && old->answered)
                submit_send(w, old);
            else if (w->send_count < SENDS_MAX && shard_waiting_count(w->shard) < 60)
                submit_send(w, new_send(w));
            if (dice > 3) {
                turn(w);
            }
            clock_manual_advance(&w->clock, 3000000);
        }
        sim_file_hold(w->sim, false);
        crash(w, round % 3 == 0 ? -3600000 : 1000); /* the clock an hour back: ids still rise */
        check(w);
        for (uint32_t i = 0; i < w->send_count; i++) { /* clients ask again until they know */
            if (w->sends[i].acked)
                continue;
            submit_send(w, &w->sends[i]);
            if (i % 50 == 49)
                settle(w);
        }
        settle(w);
        check(w);
    }
    for (uint32_t i = 0; i < w->send_count; i++)
        assert_true(w->sends[i].acked);
}

static void a_failed_write_is_never_acknowledged(void **state)
{
    struct world *w = *state;
    assert_int_equal(create(w, NULL), 0);
    sim_file_fail_write(w->sim, 1, -PARLEY_ERR_IO);
    struct sent *m = new_send(w);
    submit_send(w, m);
    for (int i = 0; i < 5; i++) {
        turn(w);
    }
    assert_true(w->fatal);
    assert_false(m->answered);
    struct sent *late = new_send(w);
    submit_send(w, late);
    assert_int_equal(late->request.error, -PARLEY_ERR_CLOSING);
    crash(w, 0);
    check(w);
}

static void failing_allocations_refuse_and_change_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(create(w, NULL), 0);
    for (uint64_t n = 0; n < 12; n++) {
        struct sent *m = new_send(w);
        memory_fail_after(n, 1);
        submit_send(w, m);
        memory_fail_after(0, 0);
        settle(w);
        assert_true(m->acked || m->request.error == -PARLEY_ERR_NOMEM);
        check(w);
    }
}

static void an_idle_shard_renews_its_ceiling(void **state)
{
    struct world *w = *state;
    assert_int_equal(create(w, NULL), 0);
    uint64_t before = sim_file_write_count(w->sim);
    for (int second = 0; second < 60; second++) {
        clock_manual_advance(&w->clock, 1000000000);
        turn(w);
    }
    uint64_t writes = sim_file_write_count(w->sim) - before;
    assert_in_range(writes, 10, 60); /* about two each lease of 5 s, not one a turn */
}

#define ON_A_SHARD(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_SHARD(creating_twice_creates_once),
        ON_A_SHARD(a_retry_is_answered_and_another_payload_refused),
        ON_A_SHARD(asking_for_nothing_costs_nothing),
        ON_A_SHARD(too_many_waiting_are_refused),
        ON_A_SHARD(crashes_lose_nothing_that_was_acknowledged),
        ON_A_SHARD(a_failed_write_is_never_acknowledged),
        ON_A_SHARD(failing_allocations_refuse_and_change_nothing),
        ON_A_SHARD(an_idle_shard_renews_its_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

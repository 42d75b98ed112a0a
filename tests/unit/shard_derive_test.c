/* Three shards on one thread: users' lists are what the owners decided, over losses of whatever was not flushed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/shard/large_set.h"
#include "src/shard/shard_internal.h"
#include "storage/reader_pool.h"
#include "tests/lib/sim_file.h"
#include "tests/sim/sim_store.h"

enum { SHARDS = 3, USERS = 6, CONVERSATIONS = 12, STEPS = 40, ROUNDS = 25, QUESTIONS_MAX = 64 };

struct world;

struct place { /* what a shard's callbacks get */
    struct world *world;
    uint32_t number;
};

struct world {
    struct sim_file *sim;
    struct clock_manual clock;
    struct reader_pool *pool;
    struct place places[SHARDS];
    struct shard *shards[SHARDS];
    struct shard_request *questions[QUESTIONS_MAX]; /* between shards, not delivered yet */
    uint32_t question_count, asked_count, ended_count;
    struct id16 conversations[CONVERSATIONS];
    bool exists[CONVERSATIONS], member[CONVERSATIONS][USERS];
    uint32_t commands, large_members; /* that shards told of */
    struct id16 large_member;
    int fatal;
};

static const char *const names[USERS] = {"ann", "bob", "cid", "dora", "eve", "fay"};
static const struct hash_key key = {{9}};
static const struct sim_store_odds calm = {1000, 100, 0, 1000}, rough = {400, 100, 300, 500};

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
    struct place *place = owner;
    place->world->fatal = err;
    (void)what;
}

static bool ask(void *owner, struct shard_request *request)
{
    struct world *w = ((struct place *)owner)->world;
    assert_true(w->question_count < QUESTIONS_MAX);
    w->questions[w->question_count++] = request;
    w->asked_count++;
    return true;
}

static void ask_ended(void *owner)
{
    ((struct place *)owner)->world->ended_count++;
}

static void on_large_member(void *owner, const struct id16 *user, const struct id16 *conversation)
{
    struct world *w = ((struct place *)owner)->world;
    assert_memory_equal(conversation, &w->conversations[0], sizeof *conversation);
    w->large_member = *user;
    w->large_members++;
}

static void question_done(struct shard_request *request)
{
    request->answered(request);
}

static int open_one(struct world *w, uint32_t n)
{
    char log_dir[32], store_dir[32];
    struct log_report report = {0};
    snprintf(log_dir, sizeof log_dir, "/log%u", n);
    snprintf(store_dir, sizeof store_dir, "/store%u", n);
    w->places[n] = (struct place){w, n};
    struct shard_options options = {.number = n,
                                    .log_dir = log_dir,
                                    .files = sim_file_layer(w->sim),
                                    .segment_bytes = 64 << 10,
                                    .store_dir = store_dir,
                                    .shard_count = SHARDS,
                                    .ask = ask,
                                    .ask_ended = ask_ended,
                                    .pool = w->pool,
                                    .memory_bytes_max = 64 << 10,
                                    .dirty_bytes_max = 64 << 10,
                                    .log_bytes_max = 512 << 10,
                                    .key = key,
                                    .clock = &w->clock.source,
                                    .limits = {100, 1000, 4096, 200},
                                    .dedup = {7ull * 86400 * 1000, 100000},
                                    .lease_ms = 5000,
                                    .request_count_max = 64,
                                    .owner = &w->places[n],
                                    .on_large_member = on_large_member,
                                    .on_fatal = on_fatal};
    return shard_open(&options, &report, &w->shards[n]);
}

static void turn(struct world *w)
{
    struct shard_request *out[QUESTIONS_MAX];
    uint32_t count = w->question_count;
    memcpy(out, w->questions, count * sizeof *out);
    w->question_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        out[i]->done = question_done;
        shard_submit(w->shards[out[i]->derive.source], out[i]);
    }
    reader_pool_poll(w->pool, 0);
    for (uint32_t n = 0; n < SHARDS; n++)
        shard_turn_end(w->shards[n]);
    sim_file_layer(w->sim)->ops->poll(sim_file_layer(w->sim), false);
    clock_manual_advance(&w->clock, 20 * 1000000);
}

static void keep_answer(struct shard_request *request)
{
    *(bool *)request->owner = true;
}

static void submit(struct world *w, struct shard_request *request, bool *answered)
{
    *answered = false;
    request->owner = answered;
    request->done = keep_answer;
    shard_submit(w->shards[hash_shard(&key, shard_request_key(request), SHARDS)], request);
}

static void settle(struct world *w, const bool *answered)
{
    for (int i = 0; i < 2000 && !*answered; i++)
        turn(w);
    assert_true(*answered);
}

static struct id16 hash_callback(void *owner, const void *data, size_t len)
{
    (void)owner;
    return hash_128(&key, data, len);
}

/* A command of the owner, ann, asked until it is answered; crashes may come between. */
static struct command command_of(struct world *w, enum command_kind kind, uint32_t conversation,
                                 uint32_t user, char client_id[16])
{
    struct hasher hasher = {NULL, hash_callback};
    struct command c = {.kind = kind, .actor = words(names[0]), .actor_hash = hash_of(names[0])};
    snprintf(client_id, 16, kind == COMMAND_CREATE ? "new%u" : "c%u",
             kind == COMMAND_CREATE ? conversation : ++w->commands);
    c.client_id = words(client_id);
    c.type = CONVERSATION_GROUP;
    if (kind == COMMAND_CREATE)
        w->conversations[conversation] = conversation_id_group(&hasher, c.type, c.actor, c.client_id);
    c.conversation = w->conversations[conversation];
    c.target = words(names[user]);
    c.target_hash = hash_of(names[user]);
    return c;
}

static void list(struct world *w, uint32_t user, bool found[CONVERSATIONS])
{
    bool answered;
    struct shard_request request = {.kind = SHARD_LIST, .limit = 5};
    request.command.actor_hash = hash_of(names[user]);
    memset(found, 0, CONVERSATIONS * sizeof *found);
    do {
        submit(w, &request, &answered);
        settle(w, &answered);
        assert_int_equal(request.error, 0);
        for (uint32_t i = 0; i < request.page.count; i++) {
            memcpy(&request.list_after, request.page.entries + (size_t)i * LIST_ENTRY_BYTES,
                   sizeof(struct id16));
            for (uint32_t c = 0; c < CONVERSATIONS; c++)
                if (memcmp(&w->conversations[c], &request.list_after, sizeof(struct id16)) == 0) {
                    assert_false(found[c]);
                    found[c] = true;
                }
        }
        memory_free(request.page.entries);
    } while (request.page.newer);
}

static void check_lists(struct world *w)
{
    for (uint32_t user = 0; user < USERS; user++) {
        bool found[CONVERSATIONS];
        list(w, user, found);
        for (uint32_t c = 0; c < CONVERSATIONS; c++)
            assert_int_equal(found[c], w->exists[c] && w->member[c][user]);
    }
}

static void close_all(struct world *w)
{
    for (uint32_t n = 0; n < SHARDS; n++)
        shard_stop_deriving(w->shards[n]);
    for (uint32_t i = 0; i < w->question_count; i++) {
        w->questions[i]->error = -PARLEY_ERR_CLOSING;
        w->questions[i]->answered(w->questions[i]);
    }
    w->question_count = 0;
    for (int i = 0; i < 100 && w->asked_count != w->ended_count; i++) /* one may be in the middle of a log */
        reader_pool_poll(w->pool, 0);
    assert_int_equal(w->asked_count, w->ended_count);
    for (uint32_t n = 0; n < SHARDS; n++)
        shard_close(&w->shards[n]);
}

static void open_all(struct world *w)
{
    for (uint32_t n = 0; n < SHARDS; n++)
        assert_int_equal(open_one(w, n), 0);
}

static void crash(struct world *w)
{
    sim_file_crash(w->sim, true);
    sim_store_crash();
    close_all(w);
    sim_file_restart(w->sim);
    w->fatal = 0;
    open_all(w);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    w->sim = sim_file_create(5);
    clock_manual_init(&w->clock, 1790000000000ull, 0);
    sim_store_set(&calm, 5);
    sim_store_set_pressure(STORE_FINE);
    assert_int_equal(reader_pool_create(&(struct reader_pool_options){.reactor_count = 1}, &w->pool), 0);
    *state = w;
    open_all(w);
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    close_all(w);
    reader_pool_destroy(&w->pool);
    sim_store_forget();
    sim_file_destroy(&w->sim);
    free(w);
    return 0;
}

static int ask_until_answered(struct world *w, struct command c, bool crashes)
{
    for (int tries = 0;; tries++) {
        bool answered;
        struct shard_request request = {.kind = SHARD_COMMAND, .command = c};
        submit(w, &request, &answered);
        if (crashes && tries == 0 && sim_file_random(w->sim) % 20 == 0) {
            for (uint64_t n = sim_file_random(w->sim) % 5; n > 0; n--)
                turn(w);
            crash(w);
            assert_true(answered); /* or it was told that the shard is closing */
            if (request.error)
                continue;
        }
        settle(w, &answered);
        return request.error;
    }
}

static void a_new_conversation_is_in_the_next_list(void **state)
{
    struct world *w = *state;
    for (uint32_t c = 0; c < CONVERSATIONS; c++) {
        char client_id[16];
        bool found[CONVERSATIONS];
        assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_CREATE, c, 0, client_id), false), 0);
        list(w, 0, found); /* at once, without a turn for derivation in between */
        assert_true(found[c]);
        assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_ADD, c, 1 + c % 5, client_id), false),
                         0);
        list(w, 1 + c % 5, found);
        assert_true(found[c]);
    }
}

/* A service for ann, with one other: both are in, and it is ann who reads her list next. */
static void a_direct_one_made_by_a_service_was_not_in_its_makers_list(void **state)
{
    struct world *w = *state;
    struct hasher hasher = {NULL, hash_callback};
    sim_store_set(&rough, 3);
    for (uint32_t c = 0; c < CONVERSATIONS; c++) {
        const char *maker = names[c % USERS], *other = names[(c + 1 + c / USERS) % USERS];
        struct command_member member = {.user = words(other), .hash = hash_of(other)};
        struct command create = {.kind = COMMAND_CREATE,
                                 .type = CONVERSATION_DIRECT,
                                 .service = true,
                                 .actor = words(maker),
                                 .actor_hash = hash_of(maker),
                                 .client_id = words("direct"),
                                 .members = &member,
                                 .member_count = 1};
        bool found[CONVERSATIONS];
        create.conversation = w->conversations[c] =
            conversation_id_direct(&hasher, create.actor, member.user);
        assert_int_equal(ask_until_answered(w, create, false), 0);
        list(w, c % USERS, found);
        assert_true(found[c]);
    }
}

static void lists_are_what_the_owners_decided(void **state)
{
    struct world *w = *state;
    sim_store_set(&rough, 3);
    for (int round = 0; round < ROUNDS; round++) {
        for (int step = 0; step < STEPS; step++) {
            uint32_t c = (uint32_t)(sim_file_random(w->sim) % CONVERSATIONS);
            uint32_t user = 1 + (uint32_t)(sim_file_random(w->sim) % (USERS - 1));
            enum command_kind kind = !w->exists[c]        ? COMMAND_CREATE
                                     : w->member[c][user] ? COMMAND_REMOVE
                                                          : COMMAND_ADD;
            char client_id[16];
            int err = ask_until_answered(w, command_of(w, kind, c, user, client_id), true);
            assert_int_equal(err, 0);
            if (kind == COMMAND_CREATE)
                w->exists[c] = w->member[c][0] = true;
            else
                w->member[c][user] = kind == COMMAND_ADD;
        }
        if (round % 2)
            crash(
                w); /* rows that were derived are lost with the memtables; the next lists have them all the same */
        else
            for (int i = 0; i < 300; i++) /* derivation comes to rest; more than a second goes by */
                turn(w);
        check_lists(w);
    }
    assert_int_equal(w->fatal, 0);
}

static void a_log_shorter_than_what_was_derived_is_fatal(void **state)
{
    struct world *w = *state;
    bool told = false;
    struct shard_request question = {.kind = SHARD_DERIVE,
                                     .derive = {.source = 1, .destination = 0, .from = 1}};
    /* What shard 0 would ask if shard 1 had lost its log's end. */
    for (int i = 0; i < 20; i++)
        turn(w);
    question.derive.from = 1000000;
    question.done = keep_answer;
    question.owner = &told;
    /* Its real question hangs there: answer that first. */
    shard_stop_deriving(w->shards[1]);
    shard_submit(w->shards[1], &question);
    assert_true(told);
    assert_int_equal(question.error, -PARLEY_ERR_LOST);
}

static void flip_all_blocks(struct sim_file *sim)
{
    const char *path;
    for (uint32_t skip = 0; (path = sim_file_find(sim, ".seg", skip)) != NULL; skip++) {
        uint8_t *data;
        uint64_t len;
        assert_true(sim_file_bytes(sim, path, &data, &len));
        for (uint64_t at = 0; at < len; at += 4096)
            data[at + 4095] ^= data[at] ? 1 : 0; /* the padding counts as well */
    }
}

/* The log rots while the server runs, and a destination that is behind asks for it: it asked for ever, in silence, and its
 * users' lists waited for it. */
static void a_log_that_had_rotted_was_asked_for_for_ever(void **state)
{
    struct world *w = *state;
    char client_id[16];
    static bool answered; /* at the end */
    static struct shard_request request = {.kind = SHARD_LIST, .limit = 5};
    sim_store_set(&(struct sim_store_odds){1000, 0, 0, 1000},
                  3); /* what is derived does not outlive a crash */
    for (uint32_t c = 0; c < CONVERSATIONS; c++)
        assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_CREATE, c, 0, client_id), false), 0);
    crash(w);
    flip_all_blocks(w->sim);
    request.command.actor_hash = hash_of(names[0]);
    submit(w, &request, &answered);
    for (int i = 0; i < 100; i++)
        turn(w);
    assert_int_equal(w->fatal, -PARLEY_ERR_CORRUPT);
}

/* One shard has all the work; the others have nothing to flush but how far they have derived it. */
static void idle_shards_do_not_hold_a_busy_ones_log(void **state)
{
    struct world *w = *state;
    char client_id[16];
    assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_CREATE, 0, 0, client_id), false), 0);
    sim_store_set(&(struct sim_store_odds){1000, 0, 0, 1000}, 3);
    for (int i = 0; i < 600; i++) {
        struct command c = command_of(w, COMMAND_SEND, 0, 0, client_id);
        c.content_type = words("text/plain");
        c.body = words("another block");
        int err = ask_until_answered(w, c, false);
        assert_int_equal(err, 0);
        for (int turns = 0; turns < 30; turns++)
            turn(w);
    }
}

/* Whoever looked at what is persisted forgot the press. Where both came in the same turn, as a shard's press on itself does
 * in an idle server, nobody ever flushed, and a full log stayed full. */
static void a_press_lasts_until_the_flush(void **state)
{
    struct world *w = *state;
    struct shard *s = w->shards[0];
    sim_store_set(&(struct sim_store_odds){1000, 0, 0, 1000}, 3);
    for (int i = 0; i < 100; i++)
        turn(w);
    uint64_t flushes = s->flushes;
    s->pressed = true;
    s->pressed_at = s->flushes;
    s->flush.next_ms = clock_monotonic_ms(&w->clock.source) + 5000;
    for (int i = 0; i < 200; i++)
        turn(w);
    assert_true(s->pressed && s->flushes == flushes);
    for (int i = 0; i < 100; i++)
        turn(w);
    assert_true(!s->pressed && s->flushes > flushes);
}

/* Members beyond the usual ones; `n` of the channel that is conversation 0. */
static void add_stranger(struct world *w, uint32_t n)
{
    char client_id[16], user[16];
    struct command c = command_of(w, COMMAND_ADD, 0, 0, client_id);
    snprintf(user, sizeof user, "stranger%u", n);
    c.target = words(user);
    c.target_hash = hash_of(user);
    assert_int_equal(ask_until_answered(w, c, false), 0);
}

static uint32_t large_of(struct world *w, uint32_t user)
{
    bool answered;
    struct shard_request request = {.kind = SHARD_LARGE};
    request.command.actor_hash = hash_of(names[user]);
    submit(w, &request, &answered);
    settle(w, &answered);
    assert_int_equal(request.error, 0);
    assert_false(request.page.newer);
    uint32_t count = request.page.count;
    if (count)
        assert_memory_equal(request.page.entries, &w->conversations[0], sizeof(struct id16));
    memory_free(request.page.entries);
    return count;
}

static void all_shards_know_what_is_large(void **state)
{
    struct world *w = *state;
    char client_id[16];
    struct command c = command_of(w, COMMAND_CREATE, 0, 0, client_id);
    struct hasher hasher = {NULL, hash_callback};
    c.type = CONVERSATION_CHANNEL;
    w->conversations[0] = c.conversation = conversation_id_group(&hasher, c.type, c.actor, c.client_id);
    assert_int_equal(ask_until_answered(w, c, false), 0);
    assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_CREATE, 1, 0, client_id), false), 0);
    assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_ADD, 0, 1, client_id), false), 0);
    uint32_t members = 2, last_small = PAGE_MEMBERS_MEAN * (MACHINE_LARGE_PAGES - 1);
    for (; members < last_small; members++)
        add_stranger(w, members);
    for (int i = 0; i < 100; i++)
        turn(w);
    assert_int_equal(large_of(w, 0), 0);
    assert_int_equal(w->large_members, 0);
    add_stranger(w, members++);
    for (int i = 0; i < 100; i++)
        turn(w);
    assert_int_equal(large_of(w, 0), 1);
    assert_int_equal(large_of(w, 1), 1);
    assert_int_equal(large_of(w, 2), 0);
    assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_ADD, 0, 2, client_id), false), 0);
    struct id16 added = hash_of(names[2]);
    assert_memory_equal(&w->large_member, &added, sizeof added);
    for (int rounds = 0; rounds < 3; rounds++) {
        crash(w);
        for (uint32_t user = 0; user < 4; user++)
            assert_int_equal(large_of(w, user), user < 3);
    }
    assert_int_equal(ask_until_answered(w, command_of(w, COMMAND_REMOVE, 0, 2, client_id), false), 0);
    for (int i = 0; i < 100; i++)
        turn(w);
    assert_int_equal(large_of(w, 2), 0);
}

#define ON_SHARDS(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_SHARDS(a_new_conversation_is_in_the_next_list),
        ON_SHARDS(a_direct_one_made_by_a_service_was_not_in_its_makers_list),
        ON_SHARDS(lists_are_what_the_owners_decided),
        ON_SHARDS(all_shards_know_what_is_large),
        ON_SHARDS(idle_shards_do_not_hold_a_busy_ones_log),
        ON_SHARDS(a_press_lasts_until_the_flush),
        ON_SHARDS(a_log_shorter_than_what_was_derived_is_fatal),
        ON_SHARDS(a_log_that_had_rotted_was_asked_for_for_ever),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

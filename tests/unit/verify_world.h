/* tests/unit/verify_world.h: a data folder on a real disk, filled by real shards, to be damaged and checked.
 *
 * Shape:  world_open -> world_create, world_send, world_add ... -> world_close, or _exit for a crash.
 *         Two shards that derive from each other on one thread.
 * Thread: one, beside the pool's and the stores'.
 */
#ifndef PARLEY_TESTS_VERIFY_WORLD_H
#define PARLEY_TESTS_VERIFY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/memory.h"
#include "src/server/data_folder.h"
#include "src/shard/shard.h"
#include "storage/file.h"
#include "storage/reader_pool.h"

enum { SHARDS = 2, QUESTIONS_MAX = 64, SEGMENT_BYTES = 256 << 10 };

struct world {
    struct data_folder folder;
    struct file_layer *files;
    struct reader_pool *pool;
    struct clock_manual clock;
    struct shard *shards[SHARDS];
    struct shard_request *questions[QUESTIONS_MAX];
    uint32_t question_count, next_client_id;
    uint64_t last_id;
    bool fatal;
};

static inline struct span words(const char *s)
{
    return (struct span){(const uint8_t *)s, strlen(s)};
}

static inline struct id16 hash_of(const struct world *w, const char *s)
{
    return hash_128(&w->folder.key, s, strlen(s));
}

static inline struct id16 hash_callback(void *owner, const void *data, size_t len)
{
    const struct world *w = owner;
    return hash_128(&w->folder.key, data, len);
}

static inline void on_fatal(void *owner, int err, const char *what)
{
    struct world *w = owner;
    w->fatal = true;
    print_message("fatal: %s %s\n", what, parley_err_code(err));
}

static inline bool ask(void *owner, struct shard_request *request)
{
    struct world *w = owner;
    assert_true(w->question_count < QUESTIONS_MAX);
    w->questions[w->question_count++] = request;
    return true;
}

static inline void question_done(struct shard_request *request)
{
    request->answered(request);
}

static inline int open_shard(struct world *w, const char *dir, uint32_t n)
{
    char log_dir[128], store_dir[128], own[128];
    struct log_report report = {0};
    snprintf(own, sizeof own, "%s/shard-%04u", dir, n);
    snprintf(log_dir, sizeof log_dir, "%s/shard-%04u/log", dir, n);
    snprintf(store_dir, sizeof store_dir, "%s/shard-%04u/store", dir, n);
    assert_int_equal(w->files->ops->make_dir(w->files, own), 0);
    struct shard_options options = {.number = n,
                                    .log_dir = log_dir,
                                    .files = w->files,
                                    .segment_bytes = SEGMENT_BYTES,
                                    .store_dir = store_dir,
                                    .store_write_buffer_bytes = 1 << 20,
                                    .space_guard_bytes = 1,
                                    .shard_count = SHARDS,
                                    .ask = ask,
                                    .pool = w->pool,
                                    .memory_bytes_max = 16 << 20,
                                    .dirty_bytes_max = 16 << 20,
                                    .log_bytes_max = 64 << 20,
                                    .key = w->folder.key,
                                    .clock = &w->clock.source,
                                    .limits = {1000, 100000, 4096, 200},
                                    .dedup = {7ull * 86400 * 1000, 100000},
                                    .lease_ms = 5000,
                                    .request_count_max = 4096,
                                    .owner = w,
                                    .on_fatal = on_fatal};
    int err = shard_open(&options, &report, &w->shards[n]);
    if (err)
        print_message("shard %u: %s\n", n, report.text);
    return err;
}

static inline struct world *world_open(const char *dir)
{
    char text[DATA_FOLDER_TEXT_BYTES];
    struct world *w = calloc(1, sizeof *w);
    assert_int_equal(data_folder_open(dir, SHARDS, SHARDS, &w->folder, text), 0);
    assert_int_equal(file_layer_uring_create(NULL, &w->files), 0);
    assert_int_equal(reader_pool_create(&(struct reader_pool_options){.reactor_count = 1}, &w->pool), 0);
    /* Ahead of whoever repairs: what he does not see of ids is not covered by his clock. */
    clock_manual_init(&w->clock, 2500000000000ull, 0);
    for (uint32_t n = 0; n < SHARDS; n++)
        assert_int_equal(open_shard(w, dir, n), 0);
    assert_int_equal(data_folder_completed(dir, &w->folder, text), 0);
    return w;
}

static inline void world_turn(struct world *w)
{
    struct shard_request *out[QUESTIONS_MAX];
    uint32_t count = w->question_count;
    memcpy(out, w->questions, count * sizeof(struct shard_request *));
    w->question_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        out[i]->done = question_done;
        shard_submit(w->shards[out[i]->derive.source], out[i]);
    }
    clock_manual_advance(&w->clock, 20000000);
    reader_pool_poll(w->pool, 0);
    for (uint32_t n = 0; n < SHARDS; n++)
        shard_turn_end(w->shards[n]);
    w->files->ops->poll(w->files, false);
    usleep(20); /* the disk and the pool have threads of their own */
}

static inline uint64_t applied(const struct world *w, uint32_t n)
{
    struct shard_counters c;
    shard_counters_read(w->shards[n], &c);
    return c.dirty_objects;
}

/* Until everything is written back and derived. */
static inline void world_rest(struct world *w)
{
    for (int i = 0; i < 400 || ((applied(w, 0) || applied(w, 1)) && i < 100000); i++)
        world_turn(w);
}

static inline void world_close(struct world *w)
{
    for (uint32_t n = 0; n < SHARDS; n++)
        shard_stop_deriving(w->shards[n]);
    for (int i = 0; i < 50; i++)
        world_turn(w);
    for (uint32_t n = 0; n < SHARDS; n++)
        shard_close(&w->shards[n]);
    reader_pool_destroy(&w->pool);
    file_layer_uring_destroy(&w->files);
    data_folder_close(&w->folder);
    assert_false(w->fatal);
    free(w);
}

/* ---- commands */

static inline void answered(struct shard_request *request)
{
    *(bool *)request->owner = true;
}

static inline void world_ask(struct world *w, struct command command)
{
    bool done = false;
    char client_id[24];
    snprintf(client_id, sizeof client_id, "c%u", w->next_client_id++);
    if (command.client_id.len == 0)
        command.client_id = words(client_id);
    command.actor_hash = hash_128(&w->folder.key, command.actor.data, command.actor.len);
    struct shard_request request = {
        .kind = SHARD_COMMAND, .command = command, .done = answered, .owner = &done};
    const struct id16 *key = shard_request_key(&request);
    struct shard *shard = w->shards[hash_shard(&w->folder.key, key, SHARDS)];
    shard_submit(shard, &request);
    for (int i = 0; i < 100000 && !done; i++)
        world_turn(w);
    assert_true(done);
    if (request.error)
        fail_msg("command %d: %s", (int)command.kind, parley_err_code(request.error));
    assert_true(request.id > 0);
    w->last_id = request.id;
}

static inline struct id16 world_create(struct world *w, const char *creator, const char *client_id,
                                       enum conversation_type type, uint32_t member_count)
{
    static char names[CREATE_MEMBERS_MAX][16];
    struct command_member members[CREATE_MEMBERS_MAX];
    for (uint32_t i = 0; i < member_count; i++) {
        snprintf(names[i], sizeof names[i], "user%u", i);
        members[i] = (struct command_member){.user = words(names[i]), .hash = hash_of(w, names[i])};
    }
    struct hasher hasher = {w, hash_callback};
    struct command c = {.kind = COMMAND_CREATE,
                        .actor = words(creator),
                        .client_id = words(client_id),
                        .type = type,
                        .title = words("title"),
                        .members = members,
                        .member_count = member_count};
    c.conversation = conversation_id_group(&hasher, type, c.actor, c.client_id);
    world_ask(w, c);
    return c.conversation;
}

static inline void world_send(struct world *w, const struct id16 *conversation, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        world_ask(w, (struct command){.kind = COMMAND_SEND,
                                      .actor = words("ann"),
                                      .conversation = *conversation,
                                      .content_type = words("text/plain"),
                                      .body = words("a body that is some words long")});
}

static inline void world_change(struct world *w, enum command_kind kind, const struct id16 *conversation,
                                const char *user)
{
    world_ask(w, (struct command){.kind = kind,
                                  .actor = words("ann"),
                                  .conversation = *conversation,
                                  .target = words(user),
                                  .target_hash = hash_of(w, user),
                                  .role = kind == COMMAND_ROLE ? ROLE_ADMIN : 0});
}

static inline void world_receipt(struct world *w, const struct id16 *conversation, const char *user,
                                 uint64_t read, uint64_t delivered)
{
    world_ask(w, (struct command){.kind = COMMAND_RECEIPT,
                                  .actor = words(user),
                                  .conversation = *conversation,
                                  .read_seq = read,
                                  .delivered_seq = delivered});
}

static inline void world_fence(struct world *w, const struct id16 *conversation)
{
    world_ask(w,
              (struct command){.kind = COMMAND_FENCE, .actor = words("ann"), .conversation = *conversation});
}

static inline void world_profile(struct world *w, const char *user)
{
    world_ask(w,
              (struct command){.kind = COMMAND_PROFILE, .actor = words(user), .display_name = words(user)});
}

#endif

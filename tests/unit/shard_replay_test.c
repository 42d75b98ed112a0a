/* What a start makes of log and store: the same rows as if nothing had happened, or a refusal. */
#include "tests/unit/shard_world.h"

#include "src/shard/shard_internal.h"

/* -- histories: the n-th command of a seed is always the same */

enum { CONVERSATIONS = 9, PEOPLE = 400, FOUNDERS = 120, ROOM_BYTES = 20000 };

struct script {
    uint64_t state;
    uint32_t step;
    char actor[16], client_id[16], target[16], name[48];
    char body[ROOM_BYTES];
    char founder_names[FOUNDERS][16];
    struct command_member founders[FOUNDERS];
};

static uint32_t roll(struct script *s, uint32_t below)
{
    s->state = s->state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(s->state >> 33) % below;
}

static enum conversation_type type_of(uint32_t number)
{
    return (enum conversation_type)(CONVERSATION_DIRECT + number % 3);
}

static void creation_of(uint32_t number, char room[16])
{
    snprintf(room, 16, "creation-%u", number);
}

static struct id16 conversation_of(uint32_t number)
{
    struct hasher hasher = {NULL, hash_callback};
    char creation[16];
    creation_of(number, creation);
    if (type_of(number) == CONVERSATION_DIRECT)
        return conversation_id_direct(&hasher, words("ann"), words(names[1 + number / 3]));
    return group_id(type_of(number), "ann", creation);
}

static struct command creation(struct script *s, uint32_t number)
{
    creation_of(number, s->client_id);
    struct command c = by("ann", s->client_id);
    c.kind = COMMAND_CREATE;
    c.type = type_of(number);
    c.conversation = conversation_of(number);
    c.members = s->founders;
    c.member_count = c.type == CONVERSATION_DIRECT ? 1 : c.type == CONVERSATION_GROUP ? 3 : FOUNDERS;
    for (uint32_t i = 0; i < c.member_count; i++) {
        snprintf(s->founder_names[i], sizeof s->founder_names[i], "p%u", i);
        const char *who = c.type == CONVERSATION_DIRECT ? names[1 + number / 3] : s->founder_names[i];
        s->founders[i] = (struct command_member){.user = words(who), .hash = hash_of(who)};
    }
    return c;
}

static struct command message(struct script *s)
{
    static const uint32_t lengths[] = {10, 10, 10, 300, 2000, 6000, 17000};
    uint32_t len = lengths[roll(s, 7)] + roll(s, 20);
    if (roll(s, 3) == 0)
        snprintf(s->actor, sizeof s->actor, "p%u", roll(s, 3));
    struct command c = by(s->actor, s->client_id);
    memset(s->body, 'a' + (int)roll(s, 20), len);
    c.kind = COMMAND_SEND;
    c.content_type = words("text/plain");
    c.body = (struct span){(const uint8_t *)s->body, len};
    if (roll(s, 12) == 0) {
        c.kind = COMMAND_RECEIPT;
        c.client_id = c.content_type = c.body = (struct span){0};
        c.read_seq = 1 + roll(s, 3);
        return c;
    }
    if (roll(s, 12) == 0) { /* of a message that never comes */
        c.kind = COMMAND_FENCE;
        c.content_type = c.body = (struct span){0};
    }
    return c;
}

static struct command membership(struct script *s, uint32_t what)
{
    struct command c;
    snprintf(s->target, sizeof s->target, "p%u", roll(s, PEOPLE));
    c = by(s->actor, s->client_id);
    c.kind = what < 5 ? COMMAND_ADD : what < 7 ? COMMAND_REMOVE : COMMAND_ROLE;
    c.target = words(s->target);
    c.target_hash = hash_of(s->target);
    c.role = c.kind == COMMAND_ROLE ? (enum member_role)(1 + roll(s, 3)) : 0;
    return c;
}

static struct command next_command(struct script *s)
{
    uint32_t what = roll(s, 20), number = roll(s, CONVERSATIONS);
    if (s->step < CONVERSATIONS)
        return creation(s, s->step++);
    s->step++;
    snprintf(s->actor, sizeof s->actor, "ann");
    snprintf(s->client_id, sizeof s->client_id, "c%u", roll(s, 10) ? s->step : roll(s, s->step));
    struct command c;
    if (what == 0) {
        snprintf(s->actor, sizeof s->actor, "p%u", roll(s, 5));
        snprintf(s->name, sizeof s->name, "name %u", s->step);
        c = by(s->actor, s->client_id);
        c.kind = COMMAND_PROFILE;
        c.display_name = words(s->name);
        return c;
    }
    if (what < 9) {
        c = membership(s, what);
        number = number - number % 3 + 1 + roll(s, 2); /* direct ones take nobody */
    } else {
        c = message(s);
    }
    c.conversation = conversation_of(number);
    return c;
}

/* -- one run of a history */

struct run {
    uint64_t seed;
    uint32_t commands;
    bool crash;
    /* Out. */
    uint64_t digest, applied, answers, splits;
};

static void one_command(struct world *w, struct script *s, struct run *run)
{
    struct shard_request r;
    int err = ask_for(w, next_command(s), &r);
    uint64_t wait_ms = roll(s, 3) || run->seed % 2 ? roll(s, 20) : roll(s, 2500);
    assert_true(err != -PARLEY_ERR_FULL && err != -PARLEY_ERR_DISK_FULL);
    run->answers = (run->answers ^ r.id ^ (r.seq << 7) ^ (uint64_t)err) * 1099511628211u;
    clock_manual_advance(&w->clock, wait_ms * 1000000);
}

static void some_turns(struct world *w)
{
    for (uint64_t i = dice(w, 12); i > 0; i--) {
        if (dice(w, 4) == 0)
            clock_manual_advance(&w->clock, 700000000);
        turn(w);
    }
}

/* Kinds of events that a start has replayed, a bit each, in all tests. */
static uint32_t replayed_kinds;

static int note_kinds(void *owner, uint64_t position, uint32_t count, struct span bytes)
{
    struct bytes_reader r = bytes_reader_of(bytes.data, bytes.len);
    (void)owner, (void)position;
    for (uint32_t i = 0; i < count; i++) {
        struct event event;
        assert_int_equal(event_decode(&r, &event), 0);
        replayed_kinds |= 1U << event.kind;
    }
    return 0;
}

/* Right after a start: what it began with is what is persisted. */
static void note_replayed(struct world *w)
{
    assert_int_equal(log_read(w->shard->log, counters(w).persisted_redo, w->report.end, note_kinds, NULL), 0);
}

static void set_random_odds(struct world *w)
{
    sim_store_set(&(struct sim_store_odds){200 + (uint32_t)dice(w, 800), (uint32_t)dice(w, 1000),
                                           (uint32_t)dice(w, 1000), 50 + (uint32_t)dice(w, 950)},
                  dice(w, 1u << 30));
}

/* The last command is under way when the process dies; then it dies a few times more, also while it starts. */
static void die_a_few_times(struct world *w, struct script *s)
{
    struct shard_request last;
    bool answered = false;
    last = (struct shard_request){
        .command = next_command(s), .done = keep_answer, .kind = SHARD_COMMAND, .owner = &answered};
    sim_file_hold(w->sim, dice(w, 2));
    shard_submit(w->shard, &last);
    for (uint64_t i = dice(w, 4); i > 0; i--)
        turn(w);
    sim_file_hold(w->sim, false);
    for (uint64_t deaths = 1 + dice(w, 3); deaths > 0; deaths--) {
        world_crash(w, 0);
        note_replayed(w);
        memory_free(last.page.entries);
        last.page.entries = NULL;
        set_random_odds(w);
        w->options.memory_bytes_max = dice(w, 2) ? 0 : 1 << 20;
        some_turns(w);
    }
}

static void do_run(struct run *run)
{
    void *state;
    static struct script script;
    script = (struct script){.state = run->seed * 77 + 1};
    assert_int_equal(world_set_up(&state), 0);
    struct world *w = state;
    shard_close(&w->shard);
    sim_store_forget();
    sim_file_destroy(&w->sim);
    w->sim = sim_file_create(run->seed * 1000 + run->commands);
    /* Odd seeds have no pause: much is written back at once, in several batches, and starts find half of it. */
    w->options.dirty_bytes_max = run->seed % 2 ? 1 << 20 : 4 << 20;
    w->options.log_bytes_max = 32 << 20;
    w->options.limits = (struct machine_limits){1000, 1000, 32 << 10, 200};
    if (run->crash) {
        set_random_odds(w);
        w->options.memory_bytes_max = run->seed % 2 ? 1 << 30 : dice(w, 2) ? 0 : 1 << 20;
    } else {
        w->options.memory_bytes_max = 1 << 30;
    }
    assert_int_equal(world_open(w), 0);
    run->answers = 0;
    for (uint32_t i = 0; i < run->commands; i++)
        one_command(w, &script, run);
    if (run->crash)
        die_a_few_times(w, &script);
    run->applied = counters(w).applied;
    w->conversation = conversation_of(2);
    run->splits = summary_of(w).page_count;
    sim_store_set(&calm, 1);
    shard_close(&w->shard);
    run->digest = sim_store_digest("/store");
    assert_false(w->fatal && !run->crash);
    assert_int_equal(world_tear_down(&state), 0);
}

/* Whatever was lost of the store, the log has it: the rows come out the same, byte for byte. */
static void crashes_change_no_row(void **state)
{
    uint64_t splits = 0;
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        for (uint32_t commands = 30; commands <= 480; commands += 90) {
            struct run crashed = {
                .seed = seed, .commands = commands + (uint32_t)(seed * 7 % 60), .crash = true};
            do_run(&crashed);
            struct run without = {.seed = seed, .commands = crashed.commands};
            do_run(&without);
            assert_int_equal(without.answers, crashed.answers);
            if (crashed.applied != without.applied) { /* the last command is in */
                without.commands++;
                do_run(&without);
            }
            assert_int_equal(crashed.applied, without.applied);
            assert_int_equal(crashed.digest, without.digest);
            splits += without.splits - 1;
        }
    }
    assert_true(splits > 10);
}

/* -- kills at certain moments */

/* More is dirty than a batch takes: some objects are in the store beyond the redo, others are not there at all. */
static void some_of_it_written(void **state)
{
    enum { GROUPS = 24 };
    struct world *w = *state;
    struct id16 ids[GROUPS];
    char creation_id[16];
    w->options.dirty_bytes_max = 1200 << 10;
    w->options.log_bytes_max = 32 << 20;
    w->options.memory_bytes_max = 1 << 30;
    world_restart(w);
    for (uint32_t i = 0; i < GROUPS; i++) {
        creation_of(i, creation_id);
        assert_int_equal(create_group(w, creation_id, NULL), 0);
        ids[i] = w->conversation;
    }
    for (uint32_t round = 0; round < 12; round++) {
        uint64_t batches = counters(w).batches_written;
        sim_store_set(&(struct sim_store_odds){1000, 1000, 0, 0}, 1);
        for (uint32_t i = 0; counters(w).batches_written == batches; i++) {
            w->conversation = ids[dice(w, 3) ? i % GROUPS : dice(w, 3)];
            send_one(w, 500 + dice(w, 3000));
        }
        struct shard_counters c = counters(w);
        assert_true(c.dirty_objects > 3 && c.redo < c.applied);
        sim_store_set(&calm, round);
        world_crash(w, 0);
        assert_true(counters(w).persisted_redo < w->report.end);
        for (uint32_t i = 0; i < GROUPS; i++) {
            w->conversation = ids[i];
            check_conversation(w);
        }
    }
}

static void written_but_not_flushed(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    w->options.log_bytes_max = 16 << 20;
    world_restart(w);
    sim_store_set(&(struct sim_store_odds){1000, 0, 0, 1000}, 1);
    uint64_t persisted = counters(w).persisted_redo;
    for (int round = 0; round < 4; round++) {
        uint64_t before = counters(w).batches_written;
        send_in_order(w, 100, 0);
        for (int i = 0; i < 100; i++)
            turn(w);
        clock_manual_advance(&w->clock, 2000000000);
        for (int i = 0; i < 10; i++)
            turn(w);
        assert_true(counters(w).batches_written > before);
        assert_int_equal(counters(w).dirty_objects, 0);
        world_crash(w, 0);
        assert_int_equal(counters(w).persisted_redo, persisted);
        assert_int_equal(counters(w).applied, 102 + 100 * round);
        check_conversation(w);
        for (uint32_t i = 0; i < w->send_count; i += 13) { /* dedup is whole too */
            submit_send(w, &w->sends[i]);
            settle(w);
            assert_true(w->sends[i].request.duplicate);
        }
    }
}

static void first_segment(struct world *w, char room[128])
{
    const char *path = sim_file_find(w->sim, ".seg", 0);
    assert_non_null(path);
    snprintf(room, 128, "%s", path);
}

static void fill_until_trimmed(struct world *w)
{
    char before[128], now[128];
    first_segment(w, before);
    for (int round = 0; round < 60; round++) {
        send_in_order(w, 100, 100);
        clock_manual_advance(&w->clock, 6000000000);
        for (int i = 0; i < 20; i++)
            turn(w);
        first_segment(w, now);
        if (strcmp(before, now) != 0)
            return;
    }
    fail_msg("the log was never trimmed");
}

static void after_a_trim(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    for (int round = 0; round < 6; round++) {
        sim_store_set(round % 2 ? &rough : &(struct sim_store_odds){1000, 0, 500, 1000}, (uint64_t)round);
        fill_until_trimmed(w);
        uint64_t highest = w->last_id;
        world_crash(w, round % 3 ? 0 : -3600000);
        assert_true(w->report.start > 1);
        check_conversation(w);
        assert_true(send_one(w, 0)->id > highest);
        for (uint32_t i = 0; i < w->send_count; i += 97) {
            submit_send(w, &w->sends[i]);
            settle(w);
            assert_true(w->sends[i].request.duplicate);
        }
        assert_true(counters(w).log_bytes <= w->options.log_bytes_max);
    }
}

static void an_idle_shard_after_the_clock_went_back(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    uint64_t id = send_one(w, 0)->id, ceiling = 0;
    rest(w);
    for (int round = 0; round < 6; round++) {
        world_crash(w, round % 2 ? -3600000 : 0);
        assert_true(w->report.ceiling >= ceiling && w->report.ceiling >= id);
        assert_int_equal(counters(w).redo, w->report.end);
        ceiling = w->report.ceiling;
        /* An hour and more with nothing to do: the ceiling is ahead of the clock again. */
        for (int minute = 0; minute < 150; minute++) {
            clock_manual_advance(&w->clock, 30000000000ull);
            for (int i = 0; i < 4; i++)
                turn(w);
        }
        if (round % 3 == 0)
            continue; /* not one event since the last start */
        struct sent *m = send_one(w, 0);
        assert_true(m->id > id && m->id > ceiling);
        id = m->id;
    }
    uint64_t now = clock_wall_ms(w->options.clock);
    world_crash(w, 0);
    assert_true((w->report.ceiling >> 22) + 1577836800000ull >= now);
    check_conversation(w);
}

/* -- starts that are refused */

static void put_disk(struct world *w, struct sim_file **disk)
{
    sim_file_destroy(&w->sim);
    w->sim = *disk;
    *disk = NULL;
}

static void a_log_shorter_than_the_store(void **state)
{
    struct world *w = *state;
    w->muted = true;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 20, 0);
    shard_close(&w->shard);
    struct sim_file *early = sim_file_clone(w->sim), *late;
    assert_int_equal(world_open(w), 0);
    send_one(w, 0);
    shard_close(&w->shard);
    late = sim_file_clone(w->sim);
    put_disk(w, &early);
    assert_int_equal(world_open(w), -PARLEY_ERR_LOST);
    assert_non_null(strstr(w->report.text, "the end of the log is missing"));
    put_disk(w, &late); /* the refusal has spoilt nothing */
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
}

/* The redo is still within the short log, but rows of a large conversation are beyond its end. */
static void a_log_shorter_than_some_rows(void **state)
{
    struct world *w = *state;
    w->muted = true;
    w->options.dirty_bytes_max = 2 << 20;
    w->options.memory_bytes_max = 1 << 30;
    w->options.log_bytes_max = 32 << 20;
    world_restart(w);
    assert_int_equal(create_group(w, "creation-2", NULL), 0);
    struct id16 large = w->conversation;
    rest(w);
    for (uint32_t i = 0; i < 10; i++) { /* more than a batch takes, all older than the large one's */
        char creation_id[16];
        creation_of(100 + i, creation_id);
        assert_int_equal(create_group(w, creation_id, NULL), 0);
        for (int k = 0; k < 5; k++)
            send_one(w, 20000);
    }
    struct sim_file *early = sim_file_clone(w->sim), *late;
    w->conversation = large;
    sim_store_set(&(struct sim_store_odds){1000, 1000, 0, 1000}, 1);
    for (uint64_t batches = counters(w).batches_written; counters(w).batches_written == batches;)
        send_one(w, 20000);
    assert_true(counters(w).redo < counters(w).applied - 8);
    world_kill(w);
    late = sim_file_clone(w->sim);
    put_disk(w, &early);
    assert_int_equal(world_open(w), -PARLEY_ERR_LOST);
    put_disk(w, &late);
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
}

static void a_trimmed_log_without_its_store(void **state)
{
    struct world *w = *state;
    w->muted = true;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    sim_store_set(&(struct sim_store_odds){1000, 300, 0, 1000}, 1);
    send_in_order(w, 20, 0);
    shard_close(&w->shard);
    sim_store_keep(); /* an early one */
    assert_int_equal(world_open(w), 0);
    fill_until_trimmed(w);
    shard_close(&w->shard);
    sim_store_bring_back();
    assert_int_equal(world_open(w), -PARLEY_ERR_LOST);
    assert_non_null(strstr(w->report.text, "the store is older than the log"));
    sim_store_forget();
    assert_int_equal(world_open(w), -PARLEY_ERR_LOST);
    assert_non_null(strstr(w->report.text, "the store is missing"));
    sim_store_forget();
    w->options.log_dir = "/another"; /* so that the tear-down has something to close */
    assert_int_equal(world_open(w), 0);
}

/* A store that is missing or old is rebuilt while the log still has everything. */
static void a_whole_log_without_its_store(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 30, 0);
    shard_close(&w->shard);
    sim_store_keep();
    assert_int_equal(world_open(w), 0);
    send_in_order(w, 30, 0);
    shard_close(&w->shard);
    uint64_t digest = sim_store_digest("/store");
    sim_store_bring_back();
    assert_true(sim_store_digest("/store") != digest);
    world_open(w) ? fail() : check_conversation(w);
    shard_close(&w->shard);
    assert_int_equal(sim_store_digest("/store"), digest);
    sim_store_forget();
    assert_int_equal(world_open(w), 0);
    check_conversation(w);
    shard_close(&w->shard);
    assert_int_equal(sim_store_digest("/store"), digest);
    assert_int_equal(world_open(w), 0);
}

/* An apply that finds its object's position beyond the event does nothing: events of a record that was half written back. */
static void a_record_that_is_half_in_the_store(void **state)
{
    struct world *w = *state;
    char id[16];
    w->options.limits.channel_members_max = 1000;
    w->options.dirty_bytes_max = 1 << 20;
    w->options.log_bytes_max = 4 << 20;
    w->options.segment_bytes = 256 << 10;
    shard_close(&w->shard);
    sim_store_forget();
    w->options.log_dir = "/wide";
    assert_int_equal(world_open(w), 0);
    struct command c = by("ann", "creation-9");
    c.kind = COMMAND_CREATE;
    c.type = CONVERSATION_CHANNEL;
    c.conversation = w->conversation = group_id(c.type, "ann", "creation-9");
    assert_int_equal(ask(w, c, NULL), 0);
    sim_store_set(&(struct sim_store_odds){1000, 300, 200, 500}, 9);
    for (int i = 0; i < 400; i++) {
        snprintf(id, sizeof id, "z%d", i);
        assert_int_equal(ask(w, about(w, COMMAND_ADD, "ann", id, id), NULL), 0);
        w->options.memory_bytes_max = dice(w, 2) ? 0 : 1 << 20;
        if (dice(w, 9) == 0)
            world_crash(w, 0);
    }
    struct conversation_summary sum = summary_of(w);
    assert_int_equal(sum.members, 401);
    assert_int_equal(sum.page_count, 4);
    uint32_t active = 0;
    for (uint32_t page = 0; page < sum.page_count; page++) {
        bool answered = false;
        struct shard_request r = {.command = about(w, COMMAND_SEND, "ann", "", ""),
                                  .done = keep_answer,
                                  .kind = SHARD_MEMBERS,
                                  .from_page = page,
                                  .owner = &answered};
        shard_submit(w->shard, &r);
        settle(w);
        assert_true(answered && r.error == 0);
        active += r.page.count;
        memory_free(r.page.entries);
    }
    assert_int_equal(active, 401);
}

static void nothing_durable(void *owner, uint64_t end)
{
    (void)owner, (void)end;
}

static uint64_t same_ceiling(void *owner)
{
    return *(uint64_t *)owner;
}

/* No command makes this event: an owner writes one to say that it is there. */
static void append_tick(struct world *w)
{
    uint8_t bytes[256];
    struct bytes_writer out = bytes_writer_of(bytes, sizeof bytes);
    struct event tick = {.kind = EVENT_TICK,
                         .id = w->report.ceiling + 1,
                         .time_ms = w->clock.source.wall_ms(&w->clock.source)};
    uint64_t ceiling = tick.id, position;
    struct log_options options = {.dir = w->options.log_dir,
                                  .files = sim_file_layer(w->sim),
                                  .segment_bytes = w->options.segment_bytes,
                                  .owner = &ceiling,
                                  .on_durable = nothing_durable,
                                  .ceiling = same_ceiling};
    struct log_report report;
    struct log *log;
    event_encode(&out, &tick);
    assert_false(out.failed);
    assert_int_equal(log_open(&options, &report, &log), 0);
    assert_int_equal(log_append(log, bytes, bytes_writer_len(&out), 1, &position), 0);
    log_close(&log);
}

static void a_tick_that_is_replayed_changes_no_row(void **state)
{
    struct world *w = *state;
    assert_int_equal(create_group(w, "creation-1", NULL), 0);
    send_in_order(w, 5, 0);
    shard_close(&w->shard);
    uint64_t digest = sim_store_digest("/store"), end = 0;
    for (int round = 0; round < 2; round++) { /* behind the redo, then out of a whole log */
        append_tick(w);
        assert_int_equal(world_open(w), 0);
        note_replayed(w);
        assert_true(w->report.end > end);
        end = w->report.end;
        check_conversation(w);
        shard_close(&w->shard);
        assert_int_equal(sim_store_digest("/store"), digest);
        sim_store_forget();
    }
    assert_int_equal(world_open(w), 0);
}

/* The last test: a kind of event that is new belongs into the script above. */
static void every_kind_of_event_was_replayed(void **state)
{
    (void)state;
    for (unsigned kind = EVENT_TICK; kind < EVENT_KIND_END; kind++)
        if (!(replayed_kinds & 1U << kind))
            fail_msg("no start has replayed an event of kind %u", kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crashes_change_no_row),
        ON_A_SHARD(some_of_it_written),
        ON_A_SHARD(written_but_not_flushed),
        ON_A_SHARD(after_a_trim),
        ON_A_SHARD(an_idle_shard_after_the_clock_went_back),
        ON_A_SHARD(a_log_shorter_than_the_store),
        ON_A_SHARD(a_log_shorter_than_some_rows),
        ON_A_SHARD(a_trimmed_log_without_its_store),
        ON_A_SHARD(a_whole_log_without_its_store),
        ON_A_SHARD(a_record_that_is_half_in_the_store),
        ON_A_SHARD(a_tick_that_is_replayed_changes_no_row),
        cmocka_unit_test(every_kind_of_event_was_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

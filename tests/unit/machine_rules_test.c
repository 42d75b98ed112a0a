/* The rules one by one, profiles, page splits, and running out of memory at each allocation. */
#include "tests/unit/machine_world.h"

static struct command ask(struct world *w, enum command_kind kind, const char *actor, const char *client_id)
{
    return (struct command){.kind = kind,
                            .actor = text(actor),
                            .actor_hash = user_hash(text(actor)),
                            .client_id = text(client_id),
                            .conversation = w->id,
                            .type = 0};
}

static struct command about(struct world *w, enum command_kind kind, const char *actor, const char *client_id,
                            const char *target, enum member_role role)
{
    struct command c = ask(w, kind, actor, client_id);
    c.target = text(target);
    c.target_hash = user_hash(text(target));
    c.role = role;
    return c;
}

static struct command say(struct world *w, const char *actor, const char *client_id, const char *body)
{
    struct command c = ask(w, COMMAND_SEND, actor, client_id);
    c.body = text(body);
    return c;
}

static struct command creation(struct world *w, enum conversation_type type, const char *actor,
                               const char *client_id, const struct command_member *members, uint32_t count)
{
    struct command c = ask(w, COMMAND_CREATE, actor, client_id);
    c.type = type;
    c.members = members;
    c.member_count = count;
    return c;
}

static void expect(struct world *w, struct command c, int error)
{
    struct verdict v = world_do(w, &c);
    if (error == 0) {
        assert_int_equal(v.kind, VERDICT_EVENTS);
        return;
    }
    assert_int_equal(v.kind, VERDICT_REFUSED);
    assert_int_equal(v.error, error);
}

static struct command_member member(const char *name, enum member_role role)
{
    return (struct command_member){text(name), user_hash(text(name)), role};
}

static void direct_is_two_for_good(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    struct command_member bob = member("bob", 0), more[2] = {bob, member("carol", 0)}, ann = member("ann", 0);
    expect(w, creation(w, CONVERSATION_DIRECT, "ann", "1", NULL, 0), -PARLEY_ERR_BAD_REQUEST);
    expect(w, creation(w, CONVERSATION_DIRECT, "ann", "1", &ann, 1), -PARLEY_ERR_BAD_REQUEST);
    expect(w, creation(w, CONVERSATION_DIRECT, "ann", "1", more, 2), -PARLEY_ERR_BAD_REQUEST);
    expect(w, creation(w, CONVERSATION_DIRECT, "ann", "1", &bob, 1), 0);
    struct command c = creation(w, CONVERSATION_DIRECT, "bob", "another", &ann, 1);
    struct verdict v = world_do(w, &c); /* the other creates it, too: the same one */
    assert_true(v.kind == VERDICT_DUPLICATE && v.id == w->conv->created_id && v.basis == v.id);
    world_commit(w, w->end);
    v = world_do(w, &c);
    assert_true(v.kind == VERDICT_DUPLICATE && v.basis == 0);
    expect(w, about(w, COMMAND_ADD, "ann", "2", "carol", 0), -PARLEY_ERR_FORBIDDEN);
    expect(w, about(w, COMMAND_REMOVE, "ann", "3", "ann", 0), -PARLEY_ERR_FORBIDDEN);
    expect(w, about(w, COMMAND_ROLE, "ann", "3", "bob", ROLE_OWNER), -PARLEY_ERR_FORBIDDEN);
    expect(w, say(w, "bob", "1", "hi"), 0);
    expect(w, say(w, "carol", "1", "hi"), -PARLEY_ERR_NOT_MEMBER);
    world_free(w);
    w = world_new((struct id16){{2}});
    c = creation(w, CONVERSATION_DIRECT, "robot", "1", more, 2);
    c.service = true;
    expect(w, c, 0);
    expect(w, say(w, "carol", "1", "hi"), 0);
    world_free(w);
}

static void the_form_and_the_limits_are_judged(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    w->ctx.limits = (struct machine_limits){3, 3, 8, 4};
    struct command_member two[3] = {member("bob", 0), member("carol", ROLE_READ_ONLY), member("dan", 0)};
    expect(w, say(w, "ann", "1", "hi"), -PARLEY_ERR_NOT_FOUND);
    expect(w, creation(w, CONVERSATION_GROUP, "ann", "1", two, 3), -PARLEY_ERR_LIMIT);
    struct command c = creation(w, CONVERSATION_GROUP, "ann", "1", two, 2);
    c.title = text("too long");
    expect(w, c, -PARLEY_ERR_TOO_LARGE);
    c.title = text("\xff");
    expect(w, c, -PARLEY_ERR_BAD_UTF8);
    c.title = text("T");
    expect(w, c, 0);
    c.title = text("U");
    expect(w, c, -PARLEY_ERR_CONFLICT);
    expect(w, say(w, "carol", "1", "hi"), -PARLEY_ERR_FORBIDDEN);
    expect(w, say(w, "bob", "1", "ninebytes"), -PARLEY_ERR_TOO_LARGE);
    expect(w, say(w, "bob", "1", ""), -PARLEY_ERR_BAD_REQUEST);
    expect(w, say(w, "bob", "", "hi"), -PARLEY_ERR_BAD_REQUEST);
    expect(w, say(w, "bob", "\xc0\x80", "hi"), -PARLEY_ERR_BAD_UTF8);
    expect(w, about(w, COMMAND_ADD, "ann", "2", "dan", 0), -PARLEY_ERR_LIMIT);
    c = say(w, "bob", "4", "\xff\xfe");
    expect(w, c, -PARLEY_ERR_BAD_UTF8);
    c.content_type = text("application/octet-stream");
    expect(w, c, 0);
    c = say(w, "bob", "5", "hi");
    c.created_at_ms = 1;
    expect(w, c, -PARLEY_ERR_FORBIDDEN);
    c.service = true;
    expect(w, c, 0);
    c.actor = text("zoe"); /* a service sends only for members */
    c.actor_hash = user_hash(c.actor);
    expect(w, c, -PARLEY_ERR_NOT_MEMBER);
    world_free(w);
}

static void a_retried_add_after_a_remove_changes_nothing(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    expect(w, creation(w, CONVERSATION_GROUP, "ann", "0", NULL, 0), 0);
    struct command add = about(w, COMMAND_ADD, "ann", "1", "bob", 0);
    expect(w, add, 0);
    struct verdict first = {.id = w->conv->ahead.last_event_id};
    expect(w, say(w, "bob", "m", "hi"), 0);
    expect(w, about(w, COMMAND_REMOVE, "ann", "2", "bob", 0), 0);
    for (int i = 0; i < 2; i++) {
        struct verdict v = world_do(w, &add);
        assert_true(v.kind == VERDICT_DUPLICATE && v.id == first.id && v.basis == (i ? 0 : first.id));
        struct command m = say(w, "bob", "m", "hi"); /* he is out, but that message was sent */
        v = world_do(w, &m);
        assert_true(v.kind == VERDICT_DUPLICATE && v.seq == 1);
        expect(w, say(w, "bob", "m", "other"), -PARLEY_ERR_CONFLICT);
        world_commit(w, w->end);
    }
    assert_int_equal(w->conv->applied.members, 1);
    world_free(w);
}

static void the_last_owner_stays(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    struct command_member bob = member("bob", ROLE_ADMIN);
    expect(w, creation(w, CONVERSATION_CHANNEL, "ann", "0", &bob, 1), 0);
    expect(w, about(w, COMMAND_REMOVE, "ann", "1", "ann", 0), -PARLEY_ERR_LAST_OWNER);
    expect(w, about(w, COMMAND_ROLE, "ann", "1", "ann", ROLE_MEMBER), -PARLEY_ERR_LAST_OWNER);
    expect(w, about(w, COMMAND_ADD, "carol", "1", "carol", ROLE_ADMIN), -PARLEY_ERR_FORBIDDEN);
    expect(w, about(w, COMMAND_ADD, "carol", "1", "carol", 0), 0);
    expect(w, about(w, COMMAND_REMOVE, "bob", "1", "ann", 0), -PARLEY_ERR_FORBIDDEN);
    expect(w, about(w, COMMAND_ROLE, "ann", "2", "bob", ROLE_OWNER), 0);
    expect(w, about(w, COMMAND_REMOVE, "ann", "3", "ann", 0), 0);
    expect(w, about(w, COMMAND_REMOVE, "bob", "2", "carol", 0), 0);
    expect(w, about(w, COMMAND_REMOVE, "bob", "3", "bob", 0), 0); /* nobody is left */
    world_commit(w, w->end);
    assert_true(w->conv->applied.members == 0 && w->conv->applied.entries == 3);
    world_free(w);
}

static void ids_of_conversations_follow_from_who_and_what(void **state)
{
    (void)state;
    struct hasher h = {NULL, hash_bytes};
    struct id16 a = conversation_id_direct(&h, text("ann"), text("bob"));
    struct id16 b = conversation_id_direct(&h, text("bob"), text("ann"));
    struct id16 c = conversation_id_direct(&h, text("an"), text("nbob"));
    assert_memory_equal(&a, &b, sizeof a);
    assert_memory_not_equal(&a, &c, sizeof a);
    a = conversation_id_group(&h, CONVERSATION_GROUP, text("ann"), text("1"));
    b = conversation_id_group(&h, CONVERSATION_CHANNEL, text("ann"), text("1"));
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void profiles_are_idempotent_too(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    struct command c = ask(w, COMMAND_PROFILE, "ann", "1");
    c.display_name = text("Ann");
    struct user *user = NULL, *back = NULL;
    assert_int_equal(user_create(&c.actor_hash, &user), 0);
    struct machine_view view = {.user = user};
    struct verdict v;
    machine_decide(&c, &view, &w->ctx, &v);
    assert_int_equal(v.kind, VERDICT_EVENTS);
    struct event e = v.events[0];
    uint64_t id = v.id;
    machine_decided(&view, &v, 1);
    verdict_clear(&v);
    machine_decide(&c, &view, &w->ctx, &v);
    assert_true(v.kind == VERDICT_DUPLICATE && v.id == id && v.basis == id);
    assert_int_equal(machine_apply_user(user, &e, 1), 0);
    assert_int_equal(machine_apply_user(user, &e, 1), 0);
    machine_decide(&c, &view, &w->ctx, &v);
    assert_true(v.kind == VERDICT_DUPLICATE && v.id == id && v.basis == 0);
    c.display_name = text("Anna");
    machine_decide(&c, &view, &w->ctx, &v);
    assert_true(v.kind == VERDICT_REFUSED && v.error == -PARLEY_ERR_CONFLICT);
    uint8_t buf[USER_ROW_BYTES_MAX];
    struct bytes_writer out = bytes_writer_of(buf, sizeof buf);
    user_encode(user, &out);
    size_t len = bytes_writer_len(&out);
    assert_int_equal(user_decode(&c.actor_hash, (struct span){buf, len}, &back), 0);
    assert_true(back->applied.command_count == 1 && user_name(back).len == 3 && back->position == 1);
    user_destroy(&back);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(user_decode(&c.actor_hash, (struct span){buf, cut}, &back), -PARLEY_ERR_CORRUPT);
    user_destroy(&user);
    world_free(w);
}

static void splits_lose_nobody(void **state)
{
    (void)state;
    enum { PEOPLE = 5000 };
    static char names[PEOPLE][8];
    struct world *w = world_new((struct id16){{1}});
    struct command_member first[200];
    for (unsigned i = 0; i < PEOPLE; i++)
        snprintf(names[i], sizeof names[i], "p%u", i);
    for (unsigned i = 0; i < 200; i++)
        first[i] = member(names[i], 0);
    expect(w, creation(w, CONVERSATION_CHANNEL, names[0], "0", first, 200), 0);
    for (unsigned i = 200; i < PEOPLE; i++) {
        expect(w, about(w, COMMAND_ADD, names[i], "in", names[i], 0), 0);
        if (i % 7 == 0)
            expect(w, about(w, COMMAND_REMOVE, names[i], "out", names[i], 0), 0);
        if (i % 50 == 0)
            world_commit(w, w->end);
    }
    world_commit(w, w->end);
    for (int round = 0; round < 2; round++) {
        uint32_t pages = w->conv->applied.page_count, entries = 0, active = 0;
        assert_int_equal(pages, (PEOPLE + PAGE_MEMBERS_MEAN - 1) / PAGE_MEMBERS_MEAN);
        for (uint32_t i = 0; i < pages; i++) {
            entries += world_page(w, i)->applied->count;
            active += page_active_count(world_page(w, i)->applied);
        }
        assert_true(entries == PEOPLE && entries == w->conv->applied.entries &&
                    active == w->conv->applied.members);
        for (unsigned i = 0; i < PEOPLE; i++) {
            struct id16 hash = user_hash(text(names[i]));
            const struct member *m = page_find(page_view(world_page(w, page_number(&hash, pages))), &hash);
            assert_true(m && member_active(m) == !(i >= 200 && i % 7 == 0));
        }
        world_drop_objects(w); /* and again by replay alone */
        world_objects(w);
        for (uint64_t p = 1; p < w->end; p++)
            world_apply(w, p);
    }
    world_free(w);
}

static size_t snapshot(struct world *w, uint8_t *buf, size_t max)
{
    struct bytes_writer out = bytes_writer_of(buf, max);
    const struct conversation *c = w->conv;
    if (c->applied.exists)
        conversation_encode(c, &out);
    bytes_put_raw(&out, &c->ahead, sizeof c->ahead);
    bytes_put_u64(&out, c->dedup.end);
    bytes_put_u64(&out, c->dedup.applied);
    bytes_put_u64(&out, c->position);
    for (uint32_t i = 0; i < c->chunk_count; i++)
        bytes_put_span(&out, chunk_row(c->chunks[i]));
    for (uint32_t i = 0; i < w->page_count; i++) {
        page_encode(w->pages[i], &out);
        const struct page_members *m = page_view(w->pages[i]);
        for (uint32_t j = 0; j < m->count; j++)
            member_put(&out, &m->list[j]);
    }
    assert_false(out.failed);
    return bytes_writer_len(&out);
}

static uint8_t before[1 << 19], after[1 << 19];

/* Each allocation of the decision fails once: nothing has changed, and then it succeeds. Commits it the same way. */
static void do_without_memory(struct world *w, struct command c)
{
    world_load(w, &c);
    struct machine_view view = world_view(w);
    size_t len = snapshot(w, before, sizeof before);
    for (uint64_t n = 0;; n++) {
        struct verdict v;
        memory_fail_after(n, 1);
        machine_decide(&c, &view, &w->ctx, &v);
        memory_fail_after(0, 0);
        bool done = v.kind == VERDICT_EVENTS;
        if (!done)
            assert_true(v.kind == VERDICT_REFUSED && v.error == -PARLEY_ERR_NOMEM);
        verdict_clear(&v);
        assert_int_equal(snapshot(w, after, sizeof after), len);
        assert_memory_equal(before, after, len);
        if (done)
            break;
    }
    uint64_t position = w->end;
    expect(w, c, 0);
    if (c.client_id.data[0] == 'L') { /* half of them as a replay would: with nothing decided */
        world_write_back(w, 0);
        world_read_back(w, true);
    }
    for (; position < w->end; position++) {
        struct event e = world_event(w, position);
        struct machine_key keys[MACHINE_KEYS_MAX];
        uint32_t count = machine_touches(&e, keys);
        for (uint32_t i = 0; i < count; i++) {
            struct page *page = keys[i].kind == OBJECT_PAGE ? world_page(w, keys[i].page) : NULL;
            int rc = -PARLEY_ERR_NOMEM;
            for (uint64_t n = 0; rc; n++) {
                len = snapshot(w, before, sizeof before);
                memory_fail_after(n, 1);
                rc = page ? machine_apply_page(page, &e, position)
                          : machine_apply_conversation(w->conv, &e, position);
                memory_fail_after(0, 0);
                if (rc == 0)
                    break;
                assert_int_equal(rc, -PARLEY_ERR_NOMEM);
                assert_int_equal(snapshot(w, after, sizeof after), len);
                assert_memory_equal(before, after, len);
            }
        }
        w->applied = position + 1;
    }
}

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    static char names[140][8], cids[140][2][8];
    struct command_member bob = member("bob", 0);
    do_without_memory(w, creation(w, CONVERSATION_CHANNEL, "ann", "0", &bob, 1));
    for (unsigned i = 0; i < 10; i++) {
        snprintf(cids[i][0], 8, "%s%u", i % 2 ? "L" : "m", i);
        do_without_memory(
            w, say(w, "ann", cids[i][0], "a body of some length, so that chunks must grow at times"));
    }
    for (unsigned i = 0; i < 6; i++) { /* intervals leave their inline room */
        snprintf(cids[i][1], 8, "%s+%u", i % 2 ? "L" : "j", i);
        do_without_memory(w, about(w, i % 2 ? COMMAND_ADD : COMMAND_REMOVE, "bob", cids[i][1], "bob", 0));
    }
    for (unsigned i = 0; i < 126; i++) {
        snprintf(names[i], sizeof names[i], "p%u", i);
        expect(w, about(w, COMMAND_ADD, names[i], "in", names[i], 0), 0);
    }
    world_commit(w, w->end);
    do_without_memory(w, about(w, COMMAND_ADD, "zoe", "L", "zoe", 0)); /* splits */
    assert_int_equal(w->conv->applied.page_count, 2);
    do_without_memory(w, about(w, COMMAND_ROLE, "ann", "role", "zoe", ROLE_ADMIN));
    world_free(w);
}

static void decoding_without_memory_is_told(void **state)
{
    (void)state;
    struct world *w = world_new((struct id16){{1}});
    struct command_member bob = member("bob", 0);
    expect(w, creation(w, CONVERSATION_GROUP, "ann", "0", &bob, 1), 0);
    expect(w, say(w, "ann", "1", "hi"), 0);
    world_commit(w, w->end);
    world_write_back(w, 0);
    struct conversation *c = NULL;
    struct page *page = NULL;
    struct chunk *chunk = NULL;
    int rc = -1;
    for (uint64_t n = 0; rc; n++) {
        memory_fail_after(n, 1);
        rc = conversation_decode(&w->id, &w->dedup, world_value(w, 'o', 0), &c);
        rc = rc ? rc : page_decode(&w->id, 0, world_value(w, 'p', 0), &page);
        rc = rc ? rc : chunk_decode(world_value(w, 'c', c->open_chunk_id), &chunk);
        rc = rc ? rc : dedup_load_segment(&c->dedup, 0, world_value(w, 'f', 0));
        rc = rc ? rc : conversation_give_tail(c, world_value(w, 'c', c->open_chunk_id));
        memory_fail_after(0, 0);
        assert_true(rc == 0 || rc == -PARLEY_ERR_NOMEM);
        conversation_destroy(&c);
        page_destroy(&page);
        chunk_destroy(&chunk);
    }
    struct span row = world_value(w, 'o', 0);
    for (size_t cut = 0; cut < row.len; cut++)
        assert_int_equal(conversation_decode(&w->id, &w->dedup, (struct span){row.data, cut}, &c),
                         -PARLEY_ERR_CORRUPT);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(direct_is_two_for_good),
        cmocka_unit_test(the_form_and_the_limits_are_judged),
        cmocka_unit_test(a_retried_add_after_a_remove_changes_nothing),
        cmocka_unit_test(the_last_owner_stays),
        cmocka_unit_test(ids_of_conversations_follow_from_who_and_what),
        cmocka_unit_test(profiles_are_idempotent_too),
        cmocka_unit_test(splits_lose_nobody),
        cmocka_unit_test(without_memory_nothing_changes),
        cmocka_unit_test(decoding_without_memory_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

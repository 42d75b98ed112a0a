/* What is frozen stays frozen, and a damaged or foreign folder is refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/server/data_folder.h"

static char dir[64], identity[96], text[DATA_FOLDER_TEXT_BYTES];

static int make_dir(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/parley-folder-XXXXXX");
    if (!mkdtemp(dir))
        return -1;
    snprintf(identity, sizeof identity, "%s/identity", dir);
    return 0;
}

static int remove_dir(void **state)
{
    (void)state;
    static const char *names[] = {"identity",       "identity.new", "lock",      "shard-0000/log",
                                  "shard-0001/log", "shard-0000",   "shard-0001"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(names); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)remove(path);
    }
    return rmdir(dir);
}

static void the_first_open_freezes(void **state)
{
    (void)state;
    struct data_folder a, b;
    assert_int_equal(data_folder_open(dir, 0, 3, &a, text), 0);
    assert_int_equal(a.shard_count, 3);
    struct data_folder first = a;
    data_folder_close(&a);
    assert_int_equal(data_folder_open(dir, 0, 8, &b, text), 0); /* more cores change nothing */
    assert_int_equal(b.shard_count, 3);
    assert_memory_equal(&b.key, &first.key, sizeof b.key);
    data_folder_close(&b);
}

static void another_count_is_refused(void **state)
{
    (void)state;
    struct data_folder f;
    assert_int_equal(data_folder_open(dir, 4, 2, &f, text), 0);
    data_folder_close(&f);
    assert_int_equal(data_folder_open(dir, 5, 2, &f, text), -PARLEY_ERR_BAD_REQUEST);
    assert_non_null(strstr(text, "created with 4 shards"));
    assert_int_equal(data_folder_open(dir, 4, 2, &f, text), 0); /* the refusal let the lock go */
    data_folder_close(&f);
}

static void one_server_a_folder(void **state)
{
    (void)state;
    struct data_folder a, b;
    assert_int_equal(data_folder_open(dir, 1, 1, &a, text), 0);
    assert_int_equal(data_folder_open(dir, 1, 1, &b, text), -PARLEY_ERR_FULL);
    assert_non_null(strstr(text, "another parleyd"));
    data_folder_close(&a);
}

static long read_identity(char *bytes, size_t max)
{
    FILE *f = fopen(identity, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, max, f);
    fclose(f);
    return (long)n;
}

static void write_identity(const char *bytes, size_t len)
{
    FILE *f = fopen(identity, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void make_shards(void)
{
    static const char *const names[] = {"shard-0000", "shard-0000/log", "shard-0001", "shard-0001/log"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(names); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
}

static void once_complete_nothing_may_be_missing(void **state)
{
    (void)state;
    struct data_folder f;
    char path[128];
    assert_int_equal(data_folder_open(dir, 2, 2, &f, text), 0);
    assert_false(f.complete);
    data_folder_close(&f);
    assert_int_equal(data_folder_open(dir, 0, 2, &f, text),
                     0); /* nothing is there, and nothing was promised */
    make_shards();
    assert_int_equal(data_folder_completed(dir, &f, text), 0);
    data_folder_close(&f);
    assert_int_equal(data_folder_open(dir, 0, 2, &f, text), 0);
    assert_true(f.complete);
    data_folder_close(&f);
    snprintf(path, sizeof path, "%s/shard-0001/log", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(data_folder_open(dir, 0, 2, &f, text), -PARLEY_ERR_LOST);
    assert_non_null(strstr(text, "shard-0001/log is missing"));
    snprintf(path, sizeof path, "%s/shard-0001", dir);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(data_folder_open(dir, 0, 2, &f, text), -PARLEY_ERR_LOST);
    assert_non_null(strstr(text, "shard-0001 is missing"));
}

static void every_damage_is_found(void **state)
{
    (void)state;
    struct data_folder f;
    assert_int_equal(data_folder_open(dir, 2, 2, &f, text), 0);
    make_shards();
    assert_int_equal(data_folder_completed(dir, &f, text), 0);
    data_folder_close(&f);
    char good[1024], bad[1024];
    long len = read_identity(good, sizeof good);
    for (long bit = 0; bit < len * 8; bit++) {
        memcpy(bad, good, (size_t)len);
        bad[bit / 8] = (char)(bad[bit / 8] ^ (1 << bit % 8));
        write_identity(bad, (size_t)len);
        assert_int_equal(data_folder_open(dir, 0, 2, &f, text), -PARLEY_ERR_CORRUPT);
    }
    for (long cut = 0; cut < len; cut++) {
        write_identity(good, (size_t)cut);
        assert_int_equal(data_folder_open(dir, 0, 2, &f, text), -PARLEY_ERR_CORRUPT);
    }
    write_identity(good, (size_t)len);
    assert_int_equal(data_folder_open(dir, 0, 2, &f, text), 0);
    data_folder_close(&f);
}

static void a_lost_identity_beside_shards_is_not_made_anew(void **state)
{
    (void)state;
    char shard[128];
    snprintf(shard, sizeof shard, "%s/shard-0000", dir);
    assert_int_equal(mkdir(shard, 0700), 0);
    struct data_folder f;
    assert_int_equal(data_folder_open(dir, 0, 2, &f, text), -PARLEY_ERR_CORRUPT);
    assert_non_null(strstr(text, "missing beside shards"));
}

static void a_look_makes_nothing_and_a_repair_raises_the_epoch(void **state)
{
    (void)state;
    struct data_folder f, g;
    assert_int_equal(data_folder_look(dir, true, &f, text), -PARLEY_ERR_NOT_FOUND);
    assert_int_not_equal(access(identity, F_OK), 0);
    assert_int_equal(data_folder_open(dir, 2, 2, &f, text), 0);
    assert_int_equal(data_folder_look(dir, false, &g, text), -PARLEY_ERR_FULL);
    data_folder_close(&f);
    assert_int_equal(data_folder_look(dir, true, &f, text), 0);
    assert_int_equal(f.shard_count, 2);
    assert_int_equal(data_folder_raise_epoch(dir, &f, text), 0);
    data_folder_close(&f);
    assert_int_equal(data_folder_open(dir, 0, 2, &g, text), 0);
    assert_int_equal(g.epoch, 2);
    data_folder_close(&g);
}

static void ids_spread_over_shards(void **state)
{
    (void)state;
    struct hash_key key = {{1, 2, 3}};
    unsigned counts[8] = {0};
    for (uint32_t i = 0; i < 8000; i++) {
        struct id16 id = hash_128(&key, &i, sizeof i);
        counts[hash_shard(&key, &id, 8)]++;
    }
    for (size_t s = 0; s < PARLEY_ARRAY_COUNT(counts); s++)
        assert_in_range(counts[s], 850, 1150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_open_freezes, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(another_count_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(one_server_a_folder, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(once_complete_nothing_may_be_missing, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(every_damage_is_found, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_lost_identity_beside_shards_is_not_made_anew, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_look_makes_nothing_and_a_repair_raises_the_epoch, make_dir,
                                        remove_dir),
        cmocka_unit_test(ids_spread_over_shards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

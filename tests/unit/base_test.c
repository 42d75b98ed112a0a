/* The cursors, the checksum, the allocator's fault plan and the error table. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#include "src/base/bytes.h"
#include "src/base/crc32c.h"
#include "src/base/error.h"
#include "src/base/memory.h"

static void integers_come_back(void **state)
{
    (void)state;
    static const uint64_t values[] = {0,         1, 127, 128, 16383, 16384, UINT32_MAX, (uint64_t)1 << 63,
                                      UINT64_MAX};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(values); i++) {
        uint8_t buf[64];
        struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
        bytes_put_varint(&w, values[i]);
        bytes_put_u64(&w, values[i]);
        bytes_put_u16(&w, (uint16_t)values[i]);
        assert_false(w.failed);
        size_t len = bytes_writer_len(&w);
        struct bytes_reader r = bytes_reader_of(buf, len);
        assert_int_equal(bytes_get_varint(&r), values[i]);
        assert_int_equal(bytes_get_u64(&r), values[i]);
        assert_int_equal(bytes_get_u16(&r), (uint16_t)values[i]);
        assert_true(bytes_reader_done(&r));
        for (size_t cut = 0; cut < len; cut++) {
            r = bytes_reader_of(buf, cut);
            (void)bytes_get_varint(&r);
            (void)bytes_get_u64(&r);
            (void)bytes_get_u16(&r);
            assert_true(r.failed);
        }
    }
}

static void a_number_has_one_spelling(void **state)
{
    (void)state;
    static const uint8_t long_zero[] = {0x80, 0x00};
    static const uint8_t too_big[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02};
    struct bytes_reader r = bytes_reader_of(long_zero, sizeof long_zero);
    (void)bytes_get_varint(&r);
    assert_true(r.failed);
    r = bytes_reader_of(too_big, sizeof too_big);
    (void)bytes_get_varint(&r);
    assert_true(r.failed);
}

static void a_damaged_length_stays_inside(void **state)
{
    (void)state;
    static const uint8_t hostile[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 'x'};
    struct bytes_reader r = bytes_reader_of(hostile, sizeof hostile);
    struct span s = bytes_get_span(&r);
    assert_true(r.failed);
    assert_int_equal(s.len, 0);
    assert_int_equal(bytes_get_u8(&r), 0); /* a failed cursor stays failed */
}

static void a_full_writer_fails(void **state)
{
    (void)state;
    uint8_t buf[3] = {0};
    struct bytes_writer w = bytes_writer_of(buf, sizeof buf);
    bytes_put_u16(&w, 7);
    bytes_put_u32(&w, 7);
    assert_true(w.failed);
    assert_int_equal(bytes_writer_len(&w), 2);
}

static void crc32c_has_the_published_values(void **state)
{
    (void)state;
    uint8_t zeros[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aau); /* RFC 3720 B.4 */
    assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43u);
    assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283u);
    uint8_t data[100];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37);
    for (size_t len = 0; len <= sizeof data; len++) {
        assert_int_equal(crc32c(0, data, len), crc32c_portable(0, data, len));
        assert_int_equal(crc32c(crc32c(0, data, len), data + len, sizeof data - len),
                         crc32c(0, data, sizeof data));
    }
}

static void planned_allocations_fail(void **state)
{
    (void)state;
    memory_fail_after(1, 1);
    void *a = memory_alloc(1), *b = memory_alloc(1), *c = memory_alloc(1);
    memory_fail_after(0, 0);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    memory_free(a);
    memory_free(c);
}

static void every_error_has_a_row(void **state)
{
    (void)state;
    for (int e = 0; e < PARLEY_ERR_COUNT; e++) {
        assert_non_null(parley_err_code(-e));
        assert_true(parley_err_status(e) >= 200 && parley_err_status(e) < 600);
    }
    assert_string_equal(parley_err_code(-9999), "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_come_back),
        cmocka_unit_test(a_number_has_one_spelling),
        cmocka_unit_test(a_damaged_length_stays_inside),
        cmocka_unit_test(a_full_writer_fails),
        cmocka_unit_test(crc32c_has_the_published_values),
        cmocka_unit_test(planned_allocations_fail),
        cmocka_unit_test(every_error_has_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

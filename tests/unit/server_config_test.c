/* Where a setting comes from, who wins, and the sentence that an operator gets for each mistake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "src/base/error.h"
#include "src/base/logger.h"
#include "src/server/config.h"

enum { ARGS_MAX = 8 };

static char path[32];
static struct config config;
static enum config_action action;
static char text[CONFIG_TEXT_BYTES];

static int set_up(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "config_test_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

/* Up to two flags and one variable; NULL: none. */
static int load(const char *file, const char *variable, const char *flag, const char *value)
{
    char config_flag[64];
    char *args[ARGS_MAX] = {(char *)"parleyd"}, *environment[] = {(char *)variable, NULL};
    int argc = 1;
    if (file) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs(file, f);
        fclose(f);
        snprintf(config_flag, sizeof config_flag, "--config=%s", path);
        args[argc++] = config_flag;
    }
    if (flag)
        args[argc++] = (char *)flag;
    if (value)
        args[argc++] = (char *)value;
    return config_load(argc, args, environment, &config, &action, text);
}

static void refused(int err, const char *words)
{
    assert_int_equal(err, -PARLEY_ERR_BAD_REQUEST);
    if (!strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text, words);
}

static void without_settings_it_listens_on_this_machine_only(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, NULL, NULL, NULL), 0);
    assert_int_equal(action, CONFIG_RUN);
    assert_string_equal(config.http_address, "127.0.0.1");
    assert_int_equal(config.http_port, 8080);
    assert_int_equal(config.http_request_body_max_bytes, 1 << 20);
    assert_int_equal(config.server_shutdown_grace_ms, 10000);
    assert_int_equal(config.dedup_horizon_ms, 7 * 86400000u);
    assert_int_equal(config.server_pin_cores, 1);
    assert_int_equal(config.logger_level, LOGGER_INFO);
}

static void flags_win_over_the_environment_and_that_over_the_file(void **state)
{
    (void)state;
    static const char file[] = "; a comment\n[http]\nport = 1\n# another\naddress=::1\n";
    assert_int_equal(load(file, NULL, NULL, NULL), 0);
    assert_int_equal(config.http_port, 1);
    assert_string_equal(config.http_address, "::1");
    assert_int_equal(config.origin[CONFIG_KEY_http_port], CONFIG_FILE);
    assert_int_equal(load(file, "PARLEY_HTTP_PORT=2", NULL, NULL), 0);
    assert_int_equal(config.http_port, 2);
    assert_int_equal(load(file, "PARLEY_HTTP_PORT=2", "--http-port", "3"), 0);
    assert_int_equal(config.http_port, 3);
    assert_int_equal(load(file, "PARLEY_HTTP_PORT=2", "--http-port=4", "--check-config"), 0);
    assert_int_equal(config.http_port, 4);
    assert_int_equal(config.origin[CONFIG_KEY_http_port], CONFIG_FLAG);
    assert_int_equal(action, CONFIG_CHECK);
}

static void the_file_may_be_named_by_the_environment(void **state)
{
    (void)state;
    char variable[64], *environment[] = {variable, NULL}, *args[] = {(char *)"parleyd", NULL};
    assert_int_equal(load("[http]\nrequest_body_max = 2MiB\n", NULL, NULL, NULL), 0);
    snprintf(variable, sizeof variable, "PARLEY_CONFIG=%s", path);
    assert_int_equal(config_load(1, args, environment, &config, &action, text), 0);
    assert_int_equal(config.http_request_body_max_bytes, 2 << 20);
}

static void a_mistake_in_the_file_names_file_and_line(void **state)
{
    (void)state;
    char place[64], long_line[3000];
    snprintf(place, sizeof place, "%s:3: ", path);
    static const char *const bad[][2] = {
        {"[http]\nport = 80\nprot = 81\n", "unknown key \"prot\" in section [http]"},
        {"[http]\nport = 80\nport = 81\n", "http.port is set twice"},
        {"\n[htpp]\nport = 80\n", "unknown key \"port\" in section [htpp]"},
        {"\n[http]\nport = 65536\n", "http.port = \"65536\" is not a number from 0 to 65535"},
        {"\n[http]\nport = -1\n", "is not a number"},
        {"\n[http]\nport = 80 ; the usual\n", "is not a number"},
        {"\n[http]\nport =\n", "is not a number"},
        {"\n[http]\nport\n", "neither [section] nor key = value"},
        {"\n[http]\nrequest_body_max = 1MB\n", "is not a size (bytes, KiB, MiB, GiB) from 1KiB to 16MiB"},
        {"\n[server]\nshutdown_grace = 10\n", "is not a time"},
        {"\n[server]\npin_cores = yes\n", "is not true or false"},
        {"\n[ring]\nentries = 100\n", "is not a power of two from 8 to 32768"},
        {"\n[logger]\nlevel = verbose\n", "is not debug, info, warn or error"},
        {"\n[server]\ndata_dir =\n", "is not a text of 1 to 200 bytes"},
        {"\n[http]\nrequest_body_max = 99999999999999999GiB\n", "is not a size"},
    };
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++) {
        refused(load(bad[i][0], NULL, NULL, NULL), bad[i][1]);
        assert_non_null(strstr(text, place));
    }
    memset(long_line, 'x', sizeof long_line - 1);
    memcpy(long_line, "\n\n", 2);
    long_line[sizeof long_line - 1] = 0;
    refused(load(long_line, NULL, NULL, NULL), "too long");
    assert_non_null(strstr(text, place));
}

static void a_mistake_elsewhere_names_the_variable_or_flag(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, "PARLEY_TOKEN=x", NULL, NULL), 0); /* the command line's */
    assert_int_equal(load(NULL, "PARLEY_URL=http://h", NULL, NULL), 0);
    refused(load(NULL, "PARLEY_HTTP_PROT=1", NULL, NULL), "PARLEY_HTTP_PROT: unknown environment variable");
    refused(load(NULL, "PARLEY_HTTP_PORT=x", NULL, NULL), "PARLEY_HTTP_PORT: http.port = \"x\" is not");
    refused(load(NULL, NULL, "--http-prot", "1"), "--http-prot: unknown flag");
    refused(load(NULL, NULL, "--http-port", "x"), "--http-port: http.port = \"x\" is not");
    refused(load(NULL, NULL, "--http-port", NULL), "--http-port: unknown flag or its value is missing");
    refused(load(NULL, NULL, "--http-port=1", "--http-port=2"), "set twice");
    refused(load(NULL, NULL, "start", NULL), "\"start\": not a flag");
    refused(load(NULL, NULL, "--config", "/nowhere/parley.ini"), "/nowhere/parley.ini: No such file");
    refused(load(NULL, NULL, "--config", "/"), "/: ");
    assert_int_equal(load(NULL, "HOME=/", NULL, NULL), 0); /* other people's variables are not ours */
}

static char *printed(void (*print)(FILE *to))
{
    char *out = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&out, &len);
    assert_non_null(f);
    print(f);
    fclose(f);
    return out;
}

static void print_config(FILE *to)
{
    config_print(&config, to);
}

static void help_teaches_every_key_and_comes_before_all_checks(void **state)
{
    (void)state;
    assert_int_equal(load("nonsense", "PARLEY_X=1", "--help", NULL), 0);
    assert_int_equal(action, CONFIG_HELP);
    char *help = printed(config_print_help);
#define X(kind, section, name, preset, min, max, words)                                                      \
    assert_non_null(strstr(help, "[" #section "]"));                                                         \
    assert_non_null(strstr(help, "  " #name " = " preset));
    CONFIG_KEYS(X)
#undef X
    assert_non_null(strstr(help, "--http-connections-max, PARLEY_HTTP_CONNECTIONS_MAX"));
    for (char *line = strtok(help, "\n"); line; line = strtok(NULL, "\n"))
        assert_true(strlen(line) <= 110);
    free(help);
}

static void an_address_is_numeric(void **state)
{
    (void)state;
    const char *good[] = {"0.0.0.0", "127.0.0.1", "::", "::1", "fe80::1"};
    const char *bad[] = {"nonsense", "localhost", "127.0.0", "127.0.0.1 ", "[::1]"};
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(good); i++)
        assert_int_equal(load(NULL, NULL, "--http-address", good[i]), 0);
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(bad); i++)
        refused(load(NULL, NULL, "--http-address", bad[i]), "is not a numeric IPv4 or IPv6 address");
}

static void what_it_prints_it_reads(void **state)
{
    (void)state;
    assert_int_equal(load(NULL, "PARLEY_DEDUP_HORIZON=36h", "--http-request-body-max", "3MiB"), 0);
    char *first = printed(print_config);
    assert_non_null(strstr(first, "# from: environment\nhorizon = 36h\n"));
    assert_non_null(strstr(first, "# from: flag\nrequest_body_max = 3MiB\n"));
    assert_int_equal(load(first, NULL, NULL, NULL), 0);
    assert_int_equal(config.dedup_horizon_ms, 36 * 3600000);
    assert_int_equal(config.http_request_body_max_bytes, 3 << 20);
    free(first);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(without_settings_it_listens_on_this_machine_only),
        TEST(flags_win_over_the_environment_and_that_over_the_file),
        TEST(the_file_may_be_named_by_the_environment),
        TEST(a_mistake_in_the_file_names_file_and_line),
        TEST(a_mistake_elsewhere_names_the_variable_or_flag),
        TEST(help_teaches_every_key_and_comes_before_all_checks),
        TEST(an_address_is_numeric),
        TEST(what_it_prints_it_reads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

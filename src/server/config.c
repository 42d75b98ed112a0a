#include "src/server/config.h"
#include "src/base/error.h"
#include "src/base/logger.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 1024, NAME_BYTES = 96, HELP_COLUMNS = 96, HELP_INDENT = 6 };

enum kind { TEXT, ADDRESS, NUMBER, POWER, BYTES, DURATION, FLAG, LEVEL };

struct row {
    enum kind kind;
    const char *section, *name, *preset, *help;
    uint64_t min, max;
    size_t offset;
};

#define NAME_TEXT(field) field
#define NAME_ADDRESS(field) field
#define NAME_NUMBER(field) field
#define NAME_POWER(field) field
#define NAME_BYTES(field) field##_bytes
#define NAME_DURATION(field) field##_ms
#define NAME_FLAG(field) field
#define NAME_LEVEL(field) field

static const struct row rows[CONFIG_KEY_COUNT] = {
#define X(kind, section, name, preset, min, max, help)                                                       \
    {kind, #section, #name, preset, help, min, max, offsetof(struct config, NAME_##kind(section##_##name))},
    CONFIG_KEYS(X)
#undef X
};

struct unit {
    const char *text;
    uint64_t factor;
};

/* The largest first: printing takes the first that divides. */
static const struct unit byte_units[] = {{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}};
static const struct unit time_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
static const struct unit no_units[] = {{"", 1}};

static const struct unit *units_of(enum kind kind, size_t *count)
{
    if (kind == BYTES) {
        *count = PARLEY_ARRAY_COUNT(byte_units);
        return byte_units;
    }
    if (kind == DURATION) {
        *count = PARLEY_ARRAY_COUNT(time_units);
        return time_units;
    }
    *count = 1;
    return no_units;
}

static uint64_t *number_at(struct config *config, const struct row *row)
{
    return (uint64_t *)(void *)((char *)config + row->offset);
}

static void print_number(char *out, size_t len, enum kind kind, uint64_t value)
{
    if (kind == FLAG) {
        snprintf(out, len, "%s", value ? "true" : "false");
        return;
    }
    if (kind == LEVEL) {
        snprintf(out, len, "%s", logger_level_text((enum logger_level)value));
        return;
    }
    size_t count;
    const struct unit *units = units_of(kind, &count);
    size_t i = 0;
    while (i < count - 1 && (value == 0 || value % units[i].factor != 0))
        i++;
    snprintf(out, len, "%" PRIu64 "%s", value / units[i].factor, units[i].text);
}

static bool parse_number(const char *text, enum kind kind, uint64_t *out)
{
    size_t count;
    const struct unit *units = units_of(kind, &count);
    if (!isdigit((unsigned char)text[0])) /* strtoull takes signs and blanks */
        return false;
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(end, units[i].text) == 0)
            return !__builtin_mul_overflow(value, units[i].factor, out);
    }
    return false;
}

static bool parse_choice(const char *text, enum kind kind, uint64_t *out)
{
    if (kind == FLAG) {
        *out = strcmp(text, "true") == 0;
        return *out || strcmp(text, "false") == 0;
    }
    for (*out = 0; *out < LOGGER_LEVEL_COUNT; ++*out)
        if (strcmp(text, logger_level_text((enum logger_level) * out)) == 0)
            return true;
    return false;
}

/* What the row wants, in the words of the help. */
static void describe(const struct row *row, char *out, size_t len)
{
    char min[32], max[32];
    if (row->kind == FLAG) {
        snprintf(out, len, "true or false");
    } else if (row->kind == LEVEL) {
        snprintf(out, len, "debug, info, warn or error");
    } else if (row->kind == ADDRESS) {
        snprintf(out, len, "a numeric IPv4 or IPv6 address");
    } else if (row->kind == TEXT) {
        snprintf(out, len, "a text of %" PRIu64 " to %" PRIu64 " bytes, without blanks at its ends", row->min,
                 row->max);
    } else {
        print_number(min, sizeof min, row->kind, row->min);
        print_number(max, sizeof max, row->kind, row->max);
        snprintf(out, len, "%s from %s to %s",
                 row->kind == POWER      ? "a power of two"
                 : row->kind == BYTES    ? "a size (bytes, KiB, MiB, GiB)"
                 : row->kind == DURATION ? "a time (ms, s, m, h, d)"
                                         : "a number",
                 min, max);
    }
}

static bool set_text(struct config *config, const struct row *row, const char *value)
{
    size_t len = strlen(value);
    if (len < row->min || len > row->max || len >= CONFIG_VALUE_BYTES)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < ' ' || value[i] == 0x7f)
            return false;
    memcpy((char *)config + row->offset, value, len + 1);
    return true;
}

static bool is_address(const char *value)
{
    struct in6_addr address; /* the larger of the two */
    return inet_pton(AF_INET, value, &address) == 1 || inet_pton(AF_INET6, value, &address) == 1;
}

/* A file could not say it. */
static bool has_outer_blanks(const char *value)
{
    size_t len = strlen(value);
    return len && (isspace((unsigned char)value[0]) || isspace((unsigned char)value[len - 1]));
}

static bool set_value(struct config *config, const struct row *row, const char *value)
{
    uint64_t number;
    if (row->kind == ADDRESS && !is_address(value))
        return false;
    if (has_outer_blanks(value))
        return false;
    if (row->kind == TEXT || row->kind == ADDRESS)
        return set_text(config, row, value);
    bool parsed = row->kind == FLAG || row->kind == LEVEL ? parse_choice(value, row->kind, &number)
                                                          : parse_number(value, row->kind, &number);
    if (!parsed || number < row->min || number > row->max)
        return false;
    if (row->kind == POWER && (number & (number - 1)) != 0)
        return false;
    *number_at(config, row) = number;
    return true;
}

/* `place` is FILE:LINE, a variable or a flag: where the operator finds what he wrote. */
static int set(struct config *config, size_t key, enum config_origin origin, const char *place,
               const char *value, char *text)
{
    char wanted[128];
    if (config->origin[key] == origin) {
        snprintf(text, CONFIG_TEXT_BYTES, "%s: %s.%s is set twice", place, rows[key].section, rows[key].name);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    if (!set_value(config, &rows[key], value)) {
        describe(&rows[key], wanted, sizeof wanted);
        snprintf(text, CONFIG_TEXT_BYTES, "%s: %s.%s = \"%.100s\" is not %s", place, rows[key].section,
                 rows[key].name, value, wanted);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    config->origin[key] = (uint8_t)origin;
    return 0;
}

static size_t find_key(const char *section, const char *name)
{
    size_t key = 0;
    while (key < CONFIG_KEY_COUNT &&
           (strcmp(rows[key].section, section) != 0 || strcmp(rows[key].name, name) != 0))
        key++;
    return key;
}

/* PARLEY_HTTP_CONNECTIONS_MAX, or --http-connections-max. */
static void spell_variable(const struct row *row, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "PARLEY_%s_%s", row->section, row->name);
    for (char *c = out; *c; c++)
        *c = (char)toupper((unsigned char)*c);
}

static void spell_flag(const struct row *row, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "--%s-%s", row->section, row->name);
    for (char *c = out; *c; c++)
        if (*c == '_')
            *c = '-';
}

static size_t find_spelled(void (*spell)(const struct row *, char[NAME_BYTES]), const char *text, size_t len)
{
    char name[NAME_BYTES];
    for (size_t key = 0; key < CONFIG_KEY_COUNT; key++) {
        spell(&rows[key], name);
        if (strlen(name) == len && memcmp(name, text, len) == 0)
            return key;
    }
    return CONFIG_KEY_COUNT;
}

struct file_reader {
    FILE *file;
    const char *path;
    unsigned line;
    bool cut; /* a line does not fit, or holds a zero byte */
    struct config *config;
    char *text;
    int err;
};

/* libinih does not tell a handler the line, so the lines are counted here. */
static char *read_line(char *buffer, int len, void *stream)
{
    struct file_reader *reader = stream;
    if (reader->err || reader->cut)
        return NULL;
    char *got = fgets(buffer, len, reader->file);
    if (!got)
        return NULL;
    reader->line++;
    reader->cut = !strchr(got, '\n') && !feof(reader->file);
    return reader->cut ? NULL : got;
}

static int on_pair(void *owner, const char *section, const char *name, const char *value)
{
    struct file_reader *reader = owner;
    char place[CONFIG_VALUE_BYTES];
    if (reader->err)
        return 0;
    snprintf(place, sizeof place, "%.200s:%u", reader->path, reader->line);
    size_t key = find_key(section, name);
    if (key == CONFIG_KEY_COUNT) {
        snprintf(reader->text, CONFIG_TEXT_BYTES, "%s: unknown key \"%.60s\" in section [%.60s]; see --help",
                 place, name, section);
        reader->err = -PARLEY_ERR_BAD_REQUEST;
    } else {
        reader->err = set(reader->config, key, CONFIG_FILE, place, value, reader->text);
    }
    return reader->err == 0;
}

static int load_file(struct config *config, const char *path, char *text)
{
    struct file_reader reader = {.path = path, .config = config, .text = text};
    reader.file = fopen(path, "re");
    if (!reader.file) {
        snprintf(text, CONFIG_TEXT_BYTES, "%.200s: %s", path, strerror(errno));
        return -PARLEY_ERR_BAD_REQUEST;
    }
    /* What stands after '=' is the value, all of it, on one line. */
    ini_allow_multiline = false;
    ini_allow_inline_comments = false;
    ini_stop_on_first_error = true;
    ini_use_stack = false;
    ini_initial_alloc = ini_max_line = LINE_BYTES;
    int at = ini_parse_stream(read_line, &reader, on_pair, &reader);
    bool unreadable = ferror(reader.file) != 0; /* a directory, say */
    fclose(reader.file);
    if (reader.err)
        return reader.err;
    if (reader.cut)
        snprintf(text, CONFIG_TEXT_BYTES, "%.200s:%u: the line is too long or holds a zero byte", path,
                 reader.line);
    else if (unreadable || at < 0)
        snprintf(text, CONFIG_TEXT_BYTES, "%.200s: cannot be read", path);
    else if (at > 0)
        snprintf(text, CONFIG_TEXT_BYTES, "%.200s:%d: neither [section] nor key = value", path, at);
    else
        return 0;
    return -PARLEY_ERR_BAD_REQUEST;
}

static const char prefix[] = "PARLEY_", config_variable[] = "PARLEY_CONFIG=";

/* The command line's own, which share the beginning: a shell that has them may start a server. */
static bool is_clients(const char *entry)
{
    return strncmp(entry, "PARLEY_URL=", 11) == 0 || strncmp(entry, "PARLEY_TOKEN=", 13) == 0;
}

static int load_environment(struct config *config, char *const environment[], char *text)
{
    for (; *environment; environment++) {
        const char *entry = *environment, *equals = strchr(entry, '=');
        if (strncmp(entry, prefix, sizeof prefix - 1) != 0 || !equals ||
            strncmp(entry, config_variable, sizeof config_variable - 1) == 0 || is_clients(entry))
            continue;
        size_t len = (size_t)(equals - entry);
        size_t key = find_spelled(spell_variable, entry, len);
        char place[NAME_BYTES];
        snprintf(place, sizeof place, "%.*s", (int)(len < NAME_BYTES ? len : NAME_BYTES - 1), entry);
        if (key == CONFIG_KEY_COUNT) {
            snprintf(text, CONFIG_TEXT_BYTES, "%s: unknown environment variable; see --help", place);
            return -PARLEY_ERR_BAD_REQUEST;
        }
        int err = set(config, key, CONFIG_ENVIRONMENT, place, equals + 1, text);
        if (err)
            return err;
    }
    return 0;
}

/* One flag with its value: `--key value` or `--key=value`. */
struct flag {
    const char *name, *value;
    size_t name_len;
};

static int next_flag(int argc, char *const argv[], int *at, struct flag *flag, char *text)
{
    const char *arg = argv[(*at)++];
    const char *equals = strchr(arg, '=');
    flag->name = arg;
    flag->name_len = equals ? (size_t)(equals - arg) : strlen(arg);
    flag->value = equals ? equals + 1 : *at < argc ? argv[*at] : NULL;
    if (strncmp(arg, "--", 2) != 0) {
        snprintf(text, CONFIG_TEXT_BYTES, "\"%.100s\": not a flag; see --help", arg);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    if (!flag->value) {
        snprintf(text, CONFIG_TEXT_BYTES, "%.100s: unknown flag or its value is missing; see --help", arg);
        return -PARLEY_ERR_BAD_REQUEST;
    }
    *at += !equals;
    return 0;
}

static bool flag_is(const struct flag *flag, const char *name)
{
    return flag->name_len == strlen(name) && memcmp(flag->name, name, flag->name_len) == 0;
}

static int load_flags(struct config *config, int argc, char *const argv[], char *text)
{
    for (int at = 1; at < argc;) {
        struct flag flag;
        char place[NAME_BYTES];
        if (strcmp(argv[at], "--check-config") == 0) {
            at++;
            continue;
        }
        int err = next_flag(argc, argv, &at, &flag, text);
        if (err)
            return err;
        if (flag_is(&flag, "--config"))
            continue;
        snprintf(place, sizeof place, "%.*s", (int)(flag.name_len < NAME_BYTES ? flag.name_len : 80),
                 flag.name);
        size_t key = find_spelled(spell_flag, flag.name, flag.name_len);
        if (key == CONFIG_KEY_COUNT) {
            snprintf(text, CONFIG_TEXT_BYTES, "%s: unknown flag; see --help", place);
            return -PARLEY_ERR_BAD_REQUEST;
        }
        err = set(config, key, CONFIG_FLAG, place, flag.value, text);
        if (err)
            return err;
    }
    return 0;
}

/* First look at the command line: what is asked, and where the file is. */
static int scan(int argc, char *const argv[], char *const environment[], enum config_action *action,
                const char **path, char *text)
{
    *action = CONFIG_RUN;
    *path = NULL;
    for (; *environment; environment++)
        if (strncmp(*environment, config_variable, sizeof config_variable - 1) == 0)
            *path = *environment + sizeof config_variable - 1;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            *action = CONFIG_HELP;
        else if (strcmp(argv[i], "--version") == 0)
            *action = CONFIG_VERSION;
    for (int at = 1; at < argc && *action != CONFIG_HELP && *action != CONFIG_VERSION;) {
        struct flag flag;
        if (strcmp(argv[at], "--check-config") == 0) {
            *action = CONFIG_CHECK;
            at++;
            continue;
        }
        int err = next_flag(argc, argv, &at, &flag, text);
        if (err)
            return err;
        if (flag_is(&flag, "--config"))
            *path = flag.value;
    }
    return 0;
}

int config_load(int argc, char *const argv[], char *const environment[], struct config *out,
                enum config_action *action, char text[CONFIG_TEXT_BYTES])
{
    const char *path;
    memset(out, 0, sizeof *out);
    text[0] = 0;
    for (size_t key = 0; key < CONFIG_KEY_COUNT; key++) {
        bool good = set_value(out, &rows[key], rows[key].preset);
        parley_assert(good);
    }
    int err = scan(argc, argv, environment, action, &path, text);
    if (err || *action == CONFIG_HELP || *action == CONFIG_VERSION)
        return err;
    if (path)
        err = load_file(out, path, text);
    if (!err)
        err = load_environment(out, environment, text);
    if (!err)
        err = load_flags(out, argc, argv, text);
    return err;
}

/* Breaks between words. */
static void print_wrapped(FILE *to, const char *text)
{
    while (*text) {
        size_t len = strlen(text), room = HELP_COLUMNS - HELP_INDENT;
        if (len > room) {
            len = room;
            while (len > 0 && text[len] != ' ')
                len--;
            if (len == 0) /* one endless word */
                len = room;
        }
        fprintf(to, "%*s%.*s\n", HELP_INDENT, "", (int)len, text);
        text += len;
        text += *text == ' ';
    }
}

void config_print_help(FILE *to)
{
    char flag[NAME_BYTES], variable[NAME_BYTES], wanted[128];
    fputs("usage: parleyd [--config FILE] [--check-config] [--help] [--version] [--SECTION-KEY VALUE ...]\n\n"
          "Every setting below has a default; a server without any settings listens on this machine only.\n"
          "A setting is read from four places, and the later one wins: the default, the file that\n"
          "--config or PARLEY_CONFIG names, the environment, the flags. One setting, three spellings:\n\n"
          "    in the file         [http]\n"
          "                        port = 9000\n"
          "    in the environment  PARLEY_HTTP_PORT=9000\n"
          "    as a flag           --http-port 9000\n\n"
          "Lines of the file that begin with # or ; are comments. What is misspelled or out of range is\n"
          "refused by name and nothing starts. --check-config reads everything, prints the values in force\n"
          "and where each comes from, and exits: run it before a restart.\n",
          to);
    for (size_t key = 0; key < CONFIG_KEY_COUNT; key++) {
        const struct row *row = &rows[key];
        if (key == 0 || strcmp(row->section, rows[key - 1].section) != 0)
            fprintf(to, "\n[%s]\n", row->section);
        spell_flag(row, flag);
        spell_variable(row, variable);
        describe(row, wanted, sizeof wanted);
        bool fits = strlen(row->name) + strlen(row->preset) + strlen(flag) + strlen(variable) < HELP_COLUMNS;
        fprintf(to, "  %s = %s%s%*s(%s, %s)\n", row->name, row->preset, fits ? "" : "\n",
                fits ? 3 : HELP_INDENT, "", flag, variable);
        print_wrapped(to, row->help);
        fprintf(to, "%*sTakes %s.\n", HELP_INDENT, "", wanted);
    }
}

static void print_value(const struct config *config, const struct row *row, char out[CONFIG_VALUE_BYTES])
{
    const char *at = (const char *)config + row->offset;
    uint64_t number;
    if (row->kind == TEXT || row->kind == ADDRESS) {
        memcpy(out, at, CONFIG_VALUE_BYTES);
        return;
    }
    memcpy(&number, at, sizeof number);
    print_number(out, CONFIG_VALUE_BYTES, row->kind, number);
}

void config_print(const struct config *config, FILE *to)
{
    static const char *const origins[] = {"default", "file", "environment", "flag"};
    char value[CONFIG_VALUE_BYTES];
    for (size_t key = 0; key < CONFIG_KEY_COUNT; key++) {
        const struct row *row = &rows[key];
        if (key == 0 || strcmp(row->section, rows[key - 1].section) != 0)
            fprintf(to, "%s[%s]\n", key ? "\n" : "", row->section);
        print_value(config, row, value);
        fprintf(to, "# from: %s\n%s = %s\n", origins[config->origin[key]], row->name, value);
    }
}

void config_log(const struct config *config)
{
    char names[CONFIG_KEY_COUNT][NAME_BYTES], values[CONFIG_KEY_COUNT][CONFIG_VALUE_BYTES];
    struct logger_field fields[CONFIG_KEY_COUNT];
    for (size_t key = 0; key < CONFIG_KEY_COUNT; key++) {
        snprintf(names[key], NAME_BYTES, "%s_%s", rows[key].section, rows[key].name);
        print_value(config, &rows[key], values[key]);
        fields[key] = logger_text(names[key], values[key]);
    }
    logger_log(LOGGER_INFO, "config_in_use", fields, CONFIG_KEY_COUNT);
}

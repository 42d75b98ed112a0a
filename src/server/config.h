/* src/server/config.h: what an operator may set, and where he may set it.
 *
 * Why:    one table gives each key its name, default, range and help text, so that the help never lies; and a
 *         typing mistake is refused by name at the start instead of running with a default.
 * Shape:  defaults < file (--config PATH or PARLEY_CONFIG) < environment < flags
 *         [http] port = 8080     PARLEY_HTTP_PORT=8080     --http-port 8080
 * Thread: start-up only.
 * Errors: -PARLEY_ERR_BAD_REQUEST and a sentence that names the place (FILE:LINE, variable or flag).
 */
#ifndef PARLEY_SERVER_CONFIG_H
#define PARLEY_SERVER_CONFIG_H

#include "src/base/base.h"

#include <stdio.h>

enum { CONFIG_VALUE_BYTES = 256, CONFIG_TEXT_BYTES = 512 };

/* X(kind, section, name, default, min, max, help)
 * TEXT: its length in bytes has the range. ADDRESS: the same, numeric. NUMBER. POWER: a power of two. BYTES: also KiB, MiB, GiB.
 * DURATION: ms, s, m, h, d; kept in ms, as its range. FLAG: true or false. LEVEL: of the logger. */
#define CONFIG_KEYS(X)                                                                                       \
    X(TEXT, server, data_dir, "/var/lib/parley", 1, 200,                                                     \
      "The data folder: commit logs, databases and the frozen shard count. One server uses it at a time.")   \
    X(NUMBER, server, reactors, "0", 0, 256, "Threads that serve clients; 0: one for each core.")            \
    X(NUMBER, server, shards, "0", 0, 1024,                                                                  \
      "Shards of a new data folder; 0: one for each core. Frozen with the folder, so choose for the "        \
      "largest machine or cluster that you foresee: another value later "                                    \
      "is refused.")                                                                                         \
    X(FLAG, server, pin_cores, "true", 0, 1, "Bind each reactor to a core. Off when cores are shared.")      \
    X(DURATION, server, shutdown_grace, "10s", 0, 600000,                                                    \
      "How long a stopping server waits for its clients to leave.")                                          \
    X(ADDRESS, http, address, "127.0.0.1", 2, 45,                                                            \
      "The numeric address to listen on. 0.0.0.0 or :: serves everybody: put TLS in front of it.")           \
    X(NUMBER, http, port, "8080", 0, 65535, "The port of HTTP and WebSocket; 0: any free one.")              \
    X(NUMBER, http, connections_max, "30000", 1, 10000000,                                                   \
      "Open connections, each reactor's share rounded up; more are told 503 and closed.")                    \
    X(NUMBER, http, connections_per_address_max, "10000", 1, 10000000,                                       \
      "Open connections of one address (IPv6: one /64); more are told 503 and closed. Behind a proxy all "   \
      "clients have his.")                                                                                   \
    X(BYTES, http, request_body_max, "1MiB", 1024, 1 << 24, "The longest request body.")                     \
    X(BYTES, http, bodies_max, "64MiB", 1 << 20, 1ull << 40,                                                 \
      "Of all reactors: request bodies above 4 KiB under way; more are refused with 503. A reactor takes "   \
      "one at least.")                                                                                       \
    X(BYTES, http, answers_max, "256MiB", 1 << 20, 1ull << 40,                                               \
      "Of all reactors: answers above 4 KiB that clients have not read; instead of more, 503. A reactor "    \
      "sends one at least.")                                                                                 \
    X(DURATION, http, ws_ping_after, "30s", 100, 3600000,                                                    \
      "Silence of a WebSocket until it is pinged; without an answer to two pings it is closed.")             \
    X(FLAG, http, test_endpoints, "false", 0, 1,                                                             \
      "Serve /test/http-echo, ws-echo, static/N and counters, for conformance suites and load generators.")  \
    X(TEXT, auth, key_file, "", 0, 250,                                                                      \
      "What tokens are verified with: a file with an Ed25519 key in PEM (the public one is enough), or "     \
      "with an HS256 secret "                                                                                \
      "of 64 hexadecimal digits. Empty: the data folder's own secret.")                                      \
    X(BYTES, message, body_max, "64KiB", 1, 512 << 10, "The longest message.")                               \
    X(NUMBER, limits, user_sends_per_s, "0", 0, 1000000,                                                     \
      "New messages of one user, in the conversations of one shard; more are refused with 429. 0: no "       \
      "limit. "                                                                                              \
      "A service token has none.")                                                                           \
    X(NUMBER, limits, user_sends_burst, "50", 1, 1000000, "How many of them at once, after a pause.")        \
    X(NUMBER, limits, conversation_sends_per_s, "0", 0, 1000000,                                             \
      "New messages in one conversation; more are refused with 429. 0: no limit. A service token has none.") \
    X(NUMBER, limits, conversation_sends_burst, "500", 1, 1000000,                                           \
      "How many of them at once, after a pause.")                                                            \
    X(NUMBER, limits, group_members_max, "1000", 2, 1000000,                                                 \
      "Members of a group; more are refused with 422.")                                                      \
    X(NUMBER, limits, channel_members_max, "1000000", 2, 1000000,                                            \
      "Members of a channel; more are refused with 422.")                                                    \
    X(FLAG, presence, enabled, "true", 0, 1,                                                                 \
      "Tell users who of those with whom they share a conversation is there. Kept in memory only.")          \
    X(DURATION, presence, expiry, "45s", 1000, 3600000,                                                      \
      "After so long without a heartbeat a device is gone. Clients send one in two thirds of it.")           \
    X(DURATION, dedup, horizon, "7d", 60000, 31536000000,                                                    \
      "How long a retried message returns its first result, if dedup.messages_max does not end it.")         \
    X(NUMBER, dedup, messages_max, "1000000", 1000, 1 << 24,                                                 \
      "How many of a conversation's last messages a retry is recognised among.")                             \
    X(BYTES, commit_log, size_max, "512MiB", 256 << 20, 1ull << 40,                                          \
      "Of each shard's log: what is older is in the database by then. A start replays at most about half "   \
      "of it.")                                                                                              \
    X(BYTES, store, dirty_max, "256MiB", 1 << 20, 1ull << 40,                                                \
      "Of all shards: applied messages that the database lacks. More makes writing cheaper and a start "     \
      "longer.")                                                                                             \
    X(BYTES, store, objects_max, "1GiB", 1 << 20, 1ull << 40,                                                \
      "Of all shards: conversations, members and newest messages held in memory.")                           \
    X(BYTES, store, cache_max, "256MiB", 1 << 20, 1ull << 40, "Of all shards: the databases' block caches.") \
    X(BYTES, store, write_buffer_max, "256MiB", 1 << 20, 1ull << 40,                                         \
      "Of all shards: the databases' memtables.")                                                            \
    X(BYTES, store, space_guard, "0", 0, 1ull << 50,                                                         \
      "With less free space on the disk, sending is refused; 0: 2 GiB or 5 %, whichever is more.")           \
    X(POWER, mailbox, request_slots, "1024", 2, 65536,                                                       \
      "Requests that one reactor may have open at another.")                                                 \
    X(POWER, mailbox, live_slots, "4096", 2, 65536,                                                          \
      "Live messages that may wait between two reactors; beyond, the receiver catches up from the log.")     \
    X(POWER, ring, entries, "256", 8, 32768, "Submissions of a reactor's io_uring.")                         \
    X(LEVEL, logger, level, "info", 0, 3, "The least important lines to write: debug, info, warn, error.")   \
    X(NUMBER, logger, lines_per_second_max, "1000", 1, 1000000,                                              \
      "Log lines of each level in a second; more are counted and dropped.")

enum config_key {
#define X(kind, section, name, preset, min, max, help) CONFIG_KEY_##section##_##name,
    CONFIG_KEYS(X)
#undef X
        CONFIG_KEY_COUNT
};

#define CONFIG_FIELD_TEXT(field) char field[CONFIG_VALUE_BYTES]
#define CONFIG_FIELD_ADDRESS(field) char field[CONFIG_VALUE_BYTES]
#define CONFIG_FIELD_NUMBER(field) uint64_t field
#define CONFIG_FIELD_POWER(field) uint64_t field
#define CONFIG_FIELD_BYTES(field) uint64_t field##_bytes
#define CONFIG_FIELD_DURATION(field) uint64_t field##_ms
#define CONFIG_FIELD_FLAG(field) uint64_t field
#define CONFIG_FIELD_LEVEL(field) uint64_t field

enum config_origin { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_FLAG };

/* config.http_port, config.message_body_max_bytes, config.server_shutdown_grace_ms ... */
struct config {
#define X(kind, section, name, preset, min, max, help) CONFIG_FIELD_##kind(section##_##name);
    CONFIG_KEYS(X)
#undef X
    uint8_t origin[CONFIG_KEY_COUNT]; /* enum config_origin */
};

enum config_action { CONFIG_RUN, CONFIG_CHECK, CONFIG_HELP, CONFIG_VERSION };

/* `argv` as main has it; `environment` is a NULL-ended list like environ. On success `*action` says what the
 * command line asks for (with CONFIG_HELP and CONFIG_VERSION nothing else was looked at). On error `*out` is undefined. */
PARLEY_MUST_USE int config_load(int argc, char *const argv[], char *const environment[], struct config *out,
                                enum config_action *action, char text[CONFIG_TEXT_BYTES]);
void config_print_help(FILE *to);
/* The values in force and where each comes from, in the form of a file that config_load would take. */
void config_print(const struct config *config, FILE *to);
/* The values in force, in one line of the log: event=config_in_use SECTION_KEY=VALUE ... */
void config_log(const struct config *config);

#endif

/* src/server/server.h: the process: data folder, reactors and doors, from start to an orderly end.
 *
 * Why:    one place knows the order in which things begin and end.
 * Shape:  server_start -> (running) -> server_stop: listeners close, clients are told, connections end -> gone
 * Thread: the main thread, which may block.
 * Errors: 0 or a negative enum parley_err, with a sentence for the operator in `text`.
 */
#ifndef PARLEY_SERVER_SERVER_H
#define PARLEY_SERVER_SERVER_H

#include "src/server/config.h"

enum { SERVER_TEXT_BYTES = 640 };

struct server;

/* Owns: the caller stops it; `config` outlives it. */
PARLEY_MUST_USE int server_start(const struct config *config, struct server **out,
                                 char text[SERVER_TEXT_BYTES]);
uint16_t server_port(const struct server *server);
uint32_t server_shard_count(const struct server *server);
uint32_t server_reactor_count(const struct server *server);
/* One line of the log for each shard. From the main thread. */
void server_log_counters(const struct server *server);
/* Drains, joins and frees. The first error of a reactor, or 0. */
int server_stop(struct server **server);

#endif

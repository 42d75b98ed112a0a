/* net/http_refusal.h: what libh2o refuses by itself, said as we say it.
 *
 * Why:    h2o judges lengths before any handler sees the request, and answers in plain text; a client should need one
 *         reader for errors.
 * Shape:  h2o's refusal -> output filter of the fallback path, where requests without a handler end -> the JSON error
 * Thread: the reactor of the request. Owner: the path.
 */
#ifndef PARLEY_NET_HTTP_REFUSAL_H
#define PARLEY_NET_HTTP_REFUSAL_H

#include <h2o.h>

void http_refusal_register(h2o_pathconf_t *path);

#endif

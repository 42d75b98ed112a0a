/* net/token.h: the words that HTTP's grammar is made of.
 *
 * Why:    the head scan and the WebSocket handshake must agree on what a token is and how a list is cut.
 * Thread: any.
 * Source: RFC 9110 sections 5.6.1 and 5.6.2.
 */
#ifndef PARLEY_NET_TOKEN_H
#define PARLEY_NET_TOKEN_H

#include "src/base/base.h"

bool token_is_char(uint8_t c);
/* ASCII letters match in either case; `word` is lower case. */
bool token_equals(struct span token, const char *word);
/* Takes the next element of a comma-separated list, without the blanks around it; empty elements are passed
 * over. False at the end of the list. */
bool token_next(struct span *list, struct span *element);
bool token_list_has(struct span list, const char *word);

#endif

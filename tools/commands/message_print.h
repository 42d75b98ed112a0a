/* tools/commands/message_print.h: one message, as a line for people or as JSON for machines.
 *
 * Shape:  the server's JSON -> "SEQ  DATE TIME  SENDER  BODY" (created_at before time), or the JSON in one line
 * Thread: one at a time.
 */
#ifndef PARLEY_TOOLS_MESSAGE_PRINT_H
#define PARLEY_TOOLS_MESSAGE_PRINT_H

#include <jansson.h>

#include "src/base/base.h"

void message_print(const json_t *message, bool json);
/* A member of an object that is a string; "" when there is none. */
const char *json_words(const json_t *object, const char *key);
struct span json_span(const json_t *object, const char *key);
/* Its `id`, or 0. */
uint64_t message_id(const json_t *message);

#endif

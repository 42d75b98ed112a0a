/* src/base/utf8.h: is this text well-formed UTF-8?
 *
 * Why:    ids and texts go to every client and to disk; one bad byte must stop at the door.
 * Shape:  strict: no overlong forms, no surrogates, nothing above U+10FFFF (Unicode 3.9, table 3-7). Eight
 * ASCII bytes a step. Thread: any.
 */
#ifndef PARLEY_BASE_UTF8_H
#define PARLEY_BASE_UTF8_H

#include "src/base/base.h"

bool utf8_valid(struct span text);

#endif

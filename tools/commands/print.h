/* tools/commands/print.h: what other people wrote, shown on a terminal.
 *
 * Why:    a message may hold escape sequences; a terminal that obeys them belongs to whoever sent it.
 * Shape:  print_text writes UTF-8 with control characters as \xNN; a line feed goes on, indented, in the next line.
 *         table: cells -> rows -> columns aligned to the widest cell, two blanks between.
 * Owner:  a zeroed table is empty; table_print and table_clear free it.
 * Thread: one at a time.
 */
#ifndef PARLEY_TOOLS_PRINT_H
#define PARLEY_TOOLS_PRINT_H

#include <stdio.h>

#include "tools/client/text.h"

void print_text(FILE *to, struct span text, size_t indent);

enum { TABLE_COLUMNS_MAX = 8 };

struct table {
    struct text cells; /* each ends with a zero */
    size_t column_count, cell_count;
    size_t widths[TABLE_COLUMNS_MAX];
};

/* Words of the program or of a server; NULL is empty. The first row is the heading. */
void table_put(struct table *table, const char *words);
void table_put_number(struct table *table, uint64_t n);
void table_print(struct table *table, FILE *to);
void table_clear(struct table *table);

#endif

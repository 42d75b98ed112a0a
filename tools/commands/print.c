#include "tools/commands/print.h"

#include <string.h>

/* Bytes of the control character at s, or 0. C1 controls are two bytes in UTF-8. */
static size_t control_at(const uint8_t *s, size_t len)
{
    if (*s < 0x20 || *s == 0x7f)
        return 1;
    return *s == 0xc2 && len > 1 && s[1] >= 0x80 && s[1] < 0xa0 ? 2 : 0;
}

static void put_safe(struct text *to, struct span text, size_t indent, bool lines)
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0, n; i < text.len; i += n ? n : 1) {
        n = control_at(text.data + i, text.len - i);
        if (n == 0 || (lines && text.data[i] == '\t')) {
            text_put(to, text.data + i, 1);
        } else if (lines && text.data[i] == '\n') {
            text_put_words(to, "\n");
            for (size_t j = 0; j < indent; j++)
                text_put_words(to, " ");
        } else {
            uint8_t c = text.data[i + n - 1];
            char escaped[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            text_put(to, escaped, sizeof escaped);
        }
    }
}

void print_text(FILE *to, struct span text, size_t indent)
{
    struct text safe = {0};
    put_safe(&safe, text, indent, true);
    (void)fwrite(safe.data ? (const char *)safe.data : "", 1, safe.len, to);
    text_free(&safe);
}

static size_t width_of(const char *s, size_t len)
{
    size_t width = 0;
    for (size_t i = 0; i < len; i++)
        width += ((uint8_t)s[i] & 0xc0) != 0x80;
    return width;
}

void table_put(struct table *table, const char *words)
{
    parley_assert(table->column_count > 0 && table->column_count <= TABLE_COLUMNS_MAX);
    size_t from = table->cells.len, column = table->cell_count++ % table->column_count;
    put_safe(&table->cells, span_of_words(words ? words : ""), 0, false);
    size_t width =
        table->cells.failed ? 0 : width_of((char *)table->cells.data + from, table->cells.len - from);
    text_put(&table->cells, "", 1);
    if (width > table->widths[column])
        table->widths[column] = width;
}

void table_put_number(struct table *table, uint64_t n)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    table_put(table, digits);
}

void table_print(struct table *table, FILE *to)
{
    const char *cell = (const char *)table->cells.data;
    for (size_t i = 0; i < table->cell_count && !table->cells.failed; i++) {
        size_t len = strlen(cell), column = i % table->column_count;
        bool last = column + 1 == table->column_count;
        fprintf(to, "%s%*s", cell, last ? 0 : (int)(table->widths[column] - width_of(cell, len) + 2), "");
        if (last)
            fputc('\n', to);
        cell += len + 1;
    }
    table_clear(table);
}

void table_clear(struct table *table)
{
    text_free(&table->cells);
    table->cell_count = 0;
}

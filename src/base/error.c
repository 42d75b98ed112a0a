#include "src/base/error.h"
#include "src/base/base.h"

#include <stdio.h>
#include <stdlib.h>

struct error_row {
    const char *code;
    const char *text;
    int status;
};

static const struct error_row rows[PARLEY_ERR_COUNT] = {[PARLEY_OK] = {"ok", "It worked.", 200},
#define X(name, wire, http, words) [PARLEY_ERR_##name] = {wire, words, http},
                                                        PARLEY_ERRORS(X)
#undef X
};

static const struct error_row *row_of(int err)
{
    int at = err < 0 ? -err : err;
    return &rows[at < PARLEY_ERR_COUNT ? at : PARLEY_ERR_INTERNAL];
}

const char *parley_err_code(int err)
{
    return row_of(err)->code;
}

const char *parley_err_text(int err)
{
    return row_of(err)->text;
}

int parley_err_status(int err)
{
    return row_of(err)->status;
}

_Noreturn void parley_assert_failed(const char *text, const char *file, int line)
{
    fprintf(stderr, "parley: assertion failed: %s (%s:%d)\n", text, file, line);
    abort();
}

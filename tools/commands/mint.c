#include "tools/commands/mint.h"

#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
#include "src/server/key_file.h"
#include "src/server/secret.h"

bool mint_claim(char *to, uint16_t *len, size_t max, const char *text)
{
    size_t n = strlen(text);
    if (n > max)
        return false;
    memcpy(to, text, n);
    *len = (uint16_t)n;
    return true;
}

int mint(const char *dir, const char *key_file, const struct jwt_claims *claims,
         char token[JWT_TOKEN_BYTES_MAX + 1])
{
    struct jwt_key key = {0};
    size_t len = 0;
    int err = key_file ? key_file_read(key_file, &key) : secret_read(dir, &key);
    bool missing = err == -PARLEY_ERR_NOT_FOUND && !key_file;
    if (!err)
        err = key.can_mint ? jwt_mint(&key, claims, token, &len) : -PARLEY_ERR_FORBIDDEN;
    const char *why = err == -PARLEY_ERR_CORRUPT     ? "this is neither " KEY_FILE_FORMS
                      : err == -PARLEY_ERR_FORBIDDEN ? "a public key signs nothing: give the private one"
                                                     : parley_err_text(err);
    if (missing)
        fprintf(stderr,
                "parley: no secret in %s: start parleyd on this folder once, or name another with --data\n",
                dir);
    else if (err)
        fprintf(stderr, "parley: no token: %s: %s\n", key_file ? key_file : dir, why);
    token[len] = 0;
    jwt_key_wipe(&key);
    return err;
}

#include "tools/commands/mint.h"

#include <stdio.h>
#include <string.h>

#include "src/base/error.h"
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

int mint(const char *dir, const struct jwt_claims *claims, char token[JWT_TOKEN_BYTES_MAX + 1])
{
    uint8_t secret[SECRET_BYTES];
    struct jwt_key key;
    size_t len = 0;
    int err = secret_read(dir, secret);
    if (!err)
        err = jwt_key_hs256(&key, secret, sizeof secret);
    if (!err)
        err = jwt_mint(&key, claims, token, &len);
    if (err == -PARLEY_ERR_NOT_FOUND)
        fprintf(stderr,
                "parley: no secret in %s: start parleyd on this folder once, or name another with --data\n",
                dir);
    else if (err)
        fprintf(stderr, "parley: no token: %s: %s\n", dir, parley_err_text(err));
    token[len] = 0;
    return err;
}

/* parley: the command line. So far: tokens. */
#include <getopt.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "net/jwt.h"
#include "src/base/error.h"
#include "src/server/secret.h"

enum { EXIT_USAGE = 2, LIFETIME_S_DEFAULT = 86400 };

static const char help[] =
    "parley token --sub USER [--data DIR] [--device D] [--scope service] [--seconds N]\n"
    "\n"
    "  Prints a bearer token, signed with the secret in the server's data folder.\n"
    "  --data     the data folder          (data)\n"
    "  --device   the device's name\n"
    "  --scope    'service' acts with a service's rights\n"
    "  --seconds  how long it is valid     (86400)\n";

static bool put(char *to, uint16_t *len, size_t max, const char *text)
{
    size_t n = strlen(text);
    if (n > max)
        return false;
    memcpy(to, text, n);
    *len = (uint16_t)n;
    return true;
}

static int mint(const char *dir, const struct jwt_claims *claims)
{
    uint8_t secret[SECRET_BYTES];
    struct jwt_key key;
    char token[JWT_TOKEN_BYTES_MAX];
    size_t len;
    int err = secret_read(dir, secret);
    if (err == -PARLEY_ERR_NOT_FOUND)
        fprintf(stderr,
                "parley: no secret in %s: start parleyd on this folder once, or name another with --data\n",
                dir);
    if (!err)
        err = jwt_key_hs256(&key, secret, sizeof secret);
    if (!err)
        err = jwt_mint(&key, claims, token, &len);
    if (err) {
        fprintf(stderr, "parley: no token: %s\n", parley_err_text(err));
        return EXIT_FAILURE;
    }
    printf("%.*s\n", (int)len, token);
    return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static const struct option flags[] = {
        {"sub", required_argument, NULL, 's'},
        {"data", required_argument, NULL, 'd'},
        {"device", required_argument, NULL, 'v'},
        {"scope", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 'n'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    struct jwt_claims claims = {0};
    const char *dir = "data";
    unsigned long seconds = LIFETIME_S_DEFAULT;
    bool good = argc > 1 && strcmp(argv[1], "token") == 0;
    for (int c; good && (c = getopt_long(argc - 1, argv + 1, "h", flags, NULL)) != -1;) {
        if (c == 's')
            good = put(claims.sub, &claims.sub_len, sizeof claims.sub, optarg);
        else if (c == 'd')
            dir = optarg;
        else if (c == 'v')
            good = put(claims.device, &claims.device_len, sizeof claims.device, optarg);
        else if (c == 'c')
            good = put(claims.scope, &claims.scope_len, sizeof claims.scope, optarg);
        else if (c == 'n')
            seconds = strtoul(optarg, NULL, 10);
        else
            good = false;
    }
    if (!good || claims.sub_len == 0 || seconds == 0 || sodium_init() < 0) {
        fputs(help, stderr);
        return EXIT_USAGE;
    }
    claims.exp_s = (uint64_t)time(NULL) + seconds;
    return mint(dir, &claims);
}

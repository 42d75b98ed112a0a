#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "tools/commands/commands.h"
#include "tools/commands/mint.h"
#include "tools/commands/session.h"

enum { LIFETIME_S_DEFAULT = 86400 };

static const char about[] = "Prints a bearer token, signed with the secret in the server's data folder. "
                            "Whoever can read that folder\n"
                            "can act as anybody: run this where the server runs, and hand out tokens.\n"
                            "\n"
                            "  parley token --data /var/lib/parley --sub ann\n"
                            "  export PARLEY_TOKEN=$(parley token --sub importer --scope service)\n";

int command_token(int argc, char **argv)
{
    const char *sub = "", *dir = NULL, *key_file = NULL, *device = "", *scope = "";
    bool json = false;
    uint64_t seconds = LIFETIME_S_DEFAULT;
    const struct flag flags[] = {
        {"sub", FLAG_TEXT, &sub, "USER", "the user, 1 to 64 bytes; required"},
        {"data", FLAG_TEXT, &dir, "DIR",
         "the server's data folder (PARLEY_SERVER_DATA_DIR,\nelse /var/lib/parley, as parleyd)"},
        {"key-file", FLAG_TEXT, &key_file, "FILE",
         "instead of a folder: an Ed25519 private key in PEM, or a\nsecret; the server's auth.key_file has "
         "its other half"},
        {"device", FLAG_TEXT, &device, "DEVICE", "the device's name"},
        {"scope", FLAG_TEXT, &scope, "WORDS", "'service': may act for users and set times"},
        {"seconds", FLAG_NUMBER, &seconds, "N", "how long it is valid (86400)"},
        {"json", FLAG_SWITCH, &json, NULL, "print {\"token\",\"sub\",\"exp\"}"},
    };
    const struct command_form form = {.usage = "parley token --sub USER [options]",
                                      .about = about,
                                      .flags = flags,
                                      .flag_count = PARLEY_ARRAY_COUNT(flags)};
    struct jwt_claims claims = {0};
    char token[JWT_TOKEN_BYTES_MAX + 1], **words;
    size_t count;
    enum flags_result result = flags_read(&form, argc, argv, &words, &count);
    if (result != FLAGS_RUN)
        return result == FLAGS_HELP ? EXIT_SUCCESS : EXIT_USAGE;
    if (!mint_claim(claims.sub, &claims.sub_len, sizeof claims.sub, sub) || claims.sub_len == 0 ||
        !mint_claim(claims.device, &claims.device_len, sizeof claims.device, device) ||
        !mint_claim(claims.scope, &claims.scope_len, sizeof claims.scope, scope) || seconds == 0) {
        fprintf(stderr, "parley: %s\nusage: %s\n",
                *sub ? "a value is too long, or --seconds 0" : "for whom? --sub USER is missing", form.usage);
        return EXIT_USAGE;
    }
    if (!dir)
        dir = getenv("PARLEY_SERVER_DATA_DIR");
    if (!dir || !*dir)
        dir = "/var/lib/parley";
    claims.exp_s = clock_wall_ms(clock_real()) / 1000 + seconds;
    if (sodium_init() < 0 || mint(dir, key_file, &claims, token) != 0)
        return EXIT_FAILURE;
    if (!json) {
        puts(token);
        return EXIT_SUCCESS;
    }
    json_t *printed = json_pack("{s:s,s:s,s:I}", "token", token, "sub", sub, "exp", (json_int_t)claims.exp_s);
    if (printed)
        session_print_json(printed);
    json_decref(printed);
    return printed ? EXIT_SUCCESS : EXIT_FAILURE;
}

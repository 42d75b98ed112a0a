/* parley: the command line. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/base.h"
#include "tools/commands/commands.h"
#include "tools/commands/session.h"

static const struct {
    const char *name, *help;
    int (*run)(int argc, char **argv);
} commands[] = {
    {"token", "print a bearer token, signed with the server's secret", command_token},
    {"conversation", "create, show, list, members, add, remove, role", command_conversation},
    {"send", "send one message", command_send},
    {"tail", "print messages as they come", command_tail},
    {"history", "print messages that are there", command_history},
    {"import", "bring in conversations from JSON lines, as the people who wrote them", command_import},
    {"export", "write conversations out as JSON lines", command_export},
    {"verify", "check a data folder, or a server: is all there, once, in order? --repair", command_verify},
};

static int help(FILE *to)
{
    fputs("usage: parley COMMAND [options] | --help | --version\n\n", to);
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(commands); i++)
        fprintf(to, "  %-14s%s\n", commands[i].name, commands[i].help);
    fputs("\n`parley COMMAND --help` explains one. Ends with 0: done; 1: the server refused or was lost; 2: "
          "usage.\n"
          "PARLEY_URL and PARLEY_TOKEN spare --url and --token.\n",
          to);
    return to == stdout ? EXIT_SUCCESS : EXIT_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return help(stderr);
    char *dashes = (char[]){"--help"}, *of_one[] = {argv[0], NULL, dashes, NULL};
    if (strcmp(argv[1], "--version") == 0) {
        puts("parley " PARLEY_VERSION);
        return EXIT_SUCCESS;
    }
    bool wants_help = strcmp(argv[1], "help") == 0;
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (wants_help && argc == 2))
        return help(stdout);
    if (wants_help) { /* parley help COMMAND */
        of_one[1] = argv[2];
        argc = 3;
        argv = of_one;
    }
    for (size_t i = 0; i < PARLEY_ARRAY_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            int status = commands[i].run(argc - 1, argv + 1);
            if (fflush(stdout) == 0)
                return status;
            perror("parley: standard output");
            return EXIT_FAILURE;
        }
    fprintf(stderr, "parley: no such command: %s\n\n", argv[1]);
    return help(stderr);
}

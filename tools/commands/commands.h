/* tools/commands/commands.h: what `parley` can do, one function a command.
 *
 * Shape:  argv[0] is the command's name -> exit status: EXIT_SUCCESS, EXIT_FAILURE (refused, or connection lost),
 *         EXIT_USAGE. Results go to standard output, everything else to standard error.
 * Thread: main.
 */
#ifndef PARLEY_TOOLS_COMMANDS_H
#define PARLEY_TOOLS_COMMANDS_H

int command_token(int argc, char **argv);
int command_conversation(int argc, char **argv);
int command_send(int argc, char **argv);
int command_tail(int argc, char **argv);
int command_history(int argc, char **argv);
int command_import(int argc, char **argv);
int command_export(int argc, char **argv);
int command_verify(int argc, char **argv);

#endif

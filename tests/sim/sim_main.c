/* tests/sim/sim_main.c: runs plans, each in a process of its own, and makes a failing one smaller.
 *
 * Why:    whatever a bug does to a run (a broken promise, an assertion, a crash, no end) is a failure of its seed.
 * Shape:  sim SEED [options]: the plan of the seed, changed by the options; a failure is run again for its trace.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/base/logger.h"
#include "tests/sim/sim_schedule.h"
#include "tests/sim/sim_trace.h"

enum { RUN_SECONDS_MAX = 120, TRACE_LINES = 60, PROGRESS_EVERY = 100, LINE_BYTES = 1024 };

static const char usage[] = "sim SEED [--runs N] [--seconds N] [--steps N] [--trace] [--shrink]\n"
                            "         [--shards N] [--devices N] [--users N] [--conversations N] [--without "
                            "FAULT]... [--only FAULT]...\n"
                            "sim --list\n"
                            "\n"
                            "Runs the plan that follows from SEED, or from SEED and those after it, until a "
                            "promise is broken: exit 1.\n"
                            "--seconds: begins no further run after so long. --shrink: a failing run is made "
                            "smaller. --without, --only: faults,\n"
                            "see --list.\n";

struct options {
    uint64_t seed, runs, seconds;
    uint32_t steps, shards, devices, users, conversations; /* 0: as the seed says */
    bool trace, shrink, without[SIM_FAULT_COUNT], only[SIM_FAULT_COUNT], some_only;
};

static struct sim_result *result; /* shared with the run */

static void plan_of(const struct options *o, uint64_t seed, struct sim_plan *plan)
{
    sim_plan_draw(seed, plan);
    plan->steps = o->steps ? o->steps : plan->steps;
    plan->shards = o->shards ? o->shards : plan->shards;
    plan->devices = o->devices ? o->devices : plan->devices;
    plan->users = o->users ? o->users : plan->users;
    plan->conversations = o->conversations ? o->conversations : plan->conversations;
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
        if (o->without[i] || (o->some_only && !o->only[i]))
            plan->rate[i] = 0;
}

/* True when it kept all promises. `result` says what it came to. */
static bool run(const struct sim_plan *plan, FILE *trace)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(RUN_SECONDS_MAX);
        sim_trace_begin(trace, result);
        sim_schedule_run(plan);
        fflush(NULL);
        exit(0); /* with the leak check of a sanitizer */
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("sim: fork");
        exit(2);
    }
    if (status == 0 && !result->violated)
        return true;
    if (!result->violated) {
        snprintf(result->check, sizeof result->check, "process");
        snprintf(result->text, sizeof result->text, "the run ended by %s %d",
                 WIFSIGNALED(status) ? "signal" : "exit code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    return false;
}

/* -- smaller */

static bool still_fails(const struct sim_plan *plan)
{
    return !run(plan, NULL);
}

static void shrink_number(struct sim_plan *plan, uint32_t *number, uint32_t least)
{
    for (uint32_t cut = *number / 2; cut > 0; cut /= 2) {
        while (*number >= least + cut) {
            *number -= cut;
            if (still_fails(plan))
                continue;
            *number += cut;
            break;
        }
    }
}

static void shrink(struct sim_plan *plan)
{
    if (result->steps && result->steps < plan->steps) { /* what came after it is not needed */
        uint32_t steps = plan->steps;
        plan->steps = (uint32_t)result->steps;
        if (!still_fails(plan))
            plan->steps = steps;
    }
    shrink_number(plan, &plan->steps, 1);
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++) {
        uint32_t rate = plan->rate[i];
        plan->rate[i] = 0;
        if (rate && !still_fails(plan))
            plan->rate[i] = rate;
    }
    shrink_number(plan, &plan->shards, 1);
    shrink_number(plan, &plan->devices, 1);
    shrink_number(plan, &plan->conversations, 1);
    shrink_number(plan, &plan->users, 3);
    shrink_number(plan, &plan->steps, 1);
    (void)run(plan, NULL);
}

static void print_plan(const struct sim_plan *plan)
{
    struct sim_plan drawn;
    sim_plan_draw(plan->seed, &drawn);
    printf("sim %" PRIu64 " --steps %u --shards %u --devices %u --conversations %u --users %u", plan->seed,
           plan->steps, plan->shards, plan->devices, plan->conversations, plan->users);
    for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
        if (drawn.rate[i] && !plan->rate[i])
            printf(" --without %s", sim_fault_name((enum sim_fault)i));
    printf("\n");
}

/* Runs it again and prints the last that it says. */
static void print_trace(const struct sim_plan *plan)
{
    char lines[TRACE_LINES][LINE_BYTES];
    uint64_t count = 0;
    FILE *trace = tmpfile();
    if (!trace)
        return;
    (void)run(plan, trace);
    rewind(trace);
    while (fgets(lines[count % TRACE_LINES], LINE_BYTES, trace))
        count++;
    for (uint64_t i = count > TRACE_LINES ? count - TRACE_LINES : 0; i < count; i++)
        fputs(lines[i % TRACE_LINES], stdout);
    fclose(trace);
}

static void report(const struct options *o, struct sim_plan *plan)
{
    if (o->shrink)
        shrink(plan);
    if (!o->trace)
        print_trace(plan);
    print_plan(plan);
    printf("seed %" PRIu64 ", step %" PRIu64 ": VIOLATION of %s: %s\n", plan->seed, result->steps,
           result->check, result->text);
}

/* -- the command line */

static bool number_option(const char *name, const char *value, struct options *o)
{
    uint64_t number = value ? strtoull(value, NULL, 10) : 0;
    struct {
        const char *name;
        uint32_t *to, max;
    } small[] = {{"--steps", &o->steps, 10000000},
                 {"--shards", &o->shards, SIM_SHARDS_MAX},
                 {"--devices", &o->devices, SIM_DEVICES_MAX},
                 {"--users", &o->users, SIM_USERS_MAX},
                 {"--conversations", &o->conversations, SIM_CONVERSATIONS_MAX}};
    if (!number)
        return false;
    if (strcmp(name, "--runs") == 0)
        o->runs = number;
    else if (strcmp(name, "--seconds") == 0)
        o->seconds = number;
    else
        for (size_t i = 0; i < PARLEY_ARRAY_COUNT(small); i++)
            if (strcmp(name, small[i].name) == 0 && number <= small[i].max) {
                *small[i].to = (uint32_t)number;
                return true;
            }
    return strcmp(name, "--runs") == 0 || strcmp(name, "--seconds") == 0;
}

static bool fault_option(const char *name, const char *value, struct options *o)
{
    enum sim_fault fault = value ? sim_fault_named(value) : SIM_FAULT_COUNT;
    bool only = strcmp(name, "--only") == 0;
    if (fault == SIM_FAULT_COUNT || (!only && strcmp(name, "--without") != 0))
        return false;
    o->some_only = o->some_only || only;
    (only ? o->only : o->without)[fault] = true;
    return true;
}

static bool read_options(int argc, char **argv, struct options *o)
{
    bool seed = false;
    *o = (struct options){.runs = 1};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--trace") == 0) {
            o->trace = true;
        } else if (strcmp(argv[i], "--shrink") == 0) {
            o->shrink = true;
        } else if (argv[i][0] != '-' && !seed) {
            o->seed = strtoull(argv[i], NULL, 10);
            seed = true;
        } else if (number_option(argv[i], value, o) || fault_option(argv[i], value, o)) {
            i++;
        } else {
            return false;
        }
    }
    return seed;
}

int main(int argc, char **argv)
{
    struct options o;
    struct sim_plan plan;
    struct sim_result sum = {0};
    uint64_t refused = 0, runs = 0;
    time_t begin = time(NULL);
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (uint32_t i = 0; i < SIM_FAULT_COUNT; i++)
            printf("%s\n", sim_fault_name((enum sim_fault)i));
        return 0;
    }
    if (!read_options(argc, argv, &o)) {
        fputs(usage, stderr);
        return 2;
    }
    /* The trace says more than the server's own lines. */
    logger_configure(&(struct logger_options){STDERR_FILENO, LOGGER_ERROR, 10, clock_real()});
    result = mmap(NULL, sizeof *result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (result == MAP_FAILED) {
        perror("sim: mmap");
        return 2;
    }
    for (; runs < o.runs && (!o.seconds || (uint64_t)(time(NULL) - begin) < o.seconds); runs++) {
        plan_of(&o, o.seed + runs, &plan);
        if (!run(&plan, o.trace ? stdout : NULL)) {
            report(&o, &plan);
            return 1;
        }
        sum.digest = sum.digest * 31 + result->digest;
        sum.events += result->events;
        sum.answers += result->answers;
        sum.crashes += result->crashes;
        sum.trimmed += result->trimmed;
        refused += result->refused;
        if ((runs + 1) % PROGRESS_EVERY == 0 && isatty(STDERR_FILENO))
            fprintf(stderr, "\r%" PRIu64 " runs", runs + 1);
    }
    printf("%" PRIu64 " runs from seed %" PRIu64 ", no violation: %" PRIu64 " events, %" PRIu64
           " answers, %" PRIu64 " crashes, %" PRIu64 " trims, %" PRIu64 " refused starts; trace %016" PRIx64
           "\n",
           runs, o.seed, sum.events, sum.answers, sum.crashes, sum.trimmed, refused, sum.digest);
    return 0;
}

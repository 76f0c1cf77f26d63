/* Puts load on a command that answers Prosody's generic lines, checks every answer, prints figures as JSON.
 *
 *     load MODE [options] COMMAND [ARGUMENT...]
 *
 *     pipe        lines on the command's stdin, answers on its stdout
 *     frames      the same in ejabberd's protocol: a program without any bridge
 *     pty         the command on a terminal of its own, asked as Prosody asks: one line, select(2), one read
 *     channels    lines with squid's channel numbers, answered in any order (helper-mux)
 *     socket      instead of COMMAND the path of a Unix socket; clients of the kind `pipe`. What is said of the
 *                 command's process is then about the one that listens
 *     tagged      clients of a socket who speak the tagged protocol
 *     open        as `pipe`, but by the clock: -r lines a second, whatever comes back; -k for the warm-up only
 *     hold        memory in use with `-k` lines in flight, against one at a time
 *     first       from fork to the first answer, on pipes
 *     raw         from fork to the terminal in raw mode
 *     exit        from fork to the end of a command that needs no input
 *
 *     -k LINES    in flight for each client (1)
 *     -c CLIENTS  connections (1; more for `socket` and `tagged` only)
 *     -s SECONDS  how long to measure (1), or
 *     -n LINES    how many answers to measure
 *     -w LINES    answers before that which do not count (0)
 *     -l BYTES    length of a line without its end (40)
 *     -a          `tagged` without addresses
 *     -r RATE     lines a second for `open`
 *     -i SECONDS  after that, watch the command doing nothing (0); not for every mode
 *
 * But for `open` the loop is closed: for each answer that comes one line goes out. After the measurement it
 * asks no more, takes the answers still due, closes the command's input and expects nothing more but exit
 * status 0.
 * Exit status: 0; 1 with one line on stderr if an answer was wrong, missing or too many, or the command
 * failed; 2 usage.
 */
#include "load.h"

#include <err.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { GRACE = 30 /* seconds beyond the measurement: warm-up, answers still due, the command's end */ };

static struct plan read_options(int argc, char **argv)
{
    struct plan plan = {.clients = 1, .in_flight = 1, .length = 40, .seconds = 1};
    int option;
    while ((option = getopt(argc, argv, "+ak:c:s:n:w:l:r:i:")) != -1)
        switch (option) {
        case 'a': plan.nameless = true; break;
        case 'k': plan.in_flight = (unsigned)atoi(optarg); break;
        case 'c': plan.clients = (unsigned)atoi(optarg); break;
        case 's': plan.seconds = atof(optarg); break;
        case 'n': plan.lines = (unsigned long)atol(optarg); break;
        case 'w': plan.warm_up = (unsigned long)atol(optarg); break;
        case 'l': plan.length = (unsigned)atoi(optarg); break;
        case 'r': plan.rate = atof(optarg); break;
        case 'i': plan.rest = atof(optarg); break;
        default: exit(2);
        }
    if (plan.in_flight < 1 || plan.in_flight > MOST_IN_FLIGHT)
        errx(2, "-k is from 1 to %d", MOST_IN_FLIGHT);
    if (plan.clients < 1 || plan.clients > MOST_CLIENTS)
        errx(2, "-c is from 1 to %d", MOST_CLIENTS);
    if (plan.length < SHORTEST_LINE || plan.length > LONGEST_LINE)
        errx(2, "-l is from %d to %d", SHORTEST_LINE, LONGEST_LINE);
    return plan;
}

static void run(const char *mode, const struct plan *plan, char **argv)
{
    if (strcmp(mode, "pipe") == 0)
        run_stream(plan, argv, false);
    else if (strcmp(mode, "frames") == 0) {
        ask_frames(plan->length);
        run_stream(plan, argv, false);
    } else if (strcmp(mode, "socket") == 0)
        run_stream(plan, argv, true);
    else if (strcmp(mode, "tagged") == 0)
        run_tagged(plan, argv);
    else if (strcmp(mode, "pty") == 0)
        run_terminal(plan, argv);
    else if (strcmp(mode, "channels") == 0)
        run_channels(plan, argv);
    else if (strcmp(mode, "open") == 0)
        run_by_the_clock(plan, argv);
    else if (strcmp(mode, "hold") == 0)
        run_hold(plan, argv);
    else if (strcmp(mode, "first") == 0)
        run_first(argv);
    else if (strcmp(mode, "raw") == 0)
        run_raw(argv);
    else if (strcmp(mode, "exit") == 0)
        run_exit(argv);
    else
        errx(2, "there is no mode %s", mode);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        errx(2, "usage: load MODE [options] COMMAND [ARGUMENT...]");
    struct plan plan = read_options(argc - 1, argv + 1);
    char **command = argv + 1 + optind;
    if (*command == NULL)
        errx(2, "the command is missing");

    signal(SIGPIPE, SIG_IGN); /* a command that went away is reported, not died of */
    give_up_after(plan.seconds + plan.rest + GRACE);
    ask_lines(plan.length);
    run(argv[1], &plan, command);
    return 0;
}

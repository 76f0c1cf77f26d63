/* The load generator's parts. load.c says what it does and how it is called. */
#ifndef LOAD_H
#define LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What to measure: either `seconds` or `lines`, after `warm_up` answers that do not count. */
struct plan {
    unsigned clients;   /* connections, each with its own `in_flight` */
    unsigned in_flight; /* questions asked and not yet answered, at any time */
    unsigned length;    /* bytes of a line without its end */
    double rate;        /* questions a second by the clock, for `open` */
    double seconds;
    unsigned long lines;
    unsigned long warm_up;
    bool nameless;      /* no addresses in tagged lines */
    double rest;        /* seconds to look at the command doing nothing, after the measurement */
};

enum {
    MOST_CLIENTS = 128,
    MOST_IN_FLIGHT = 1024, /* as many of the usual lines as surely fit into a pipe: writing never blocks */
    SHORTEST_LINE = 16,
    LONGEST_LINE = 4096,
};

/* questions.c: what is asked, and what is true. */
extern size_t question_size, answer_size;
void ask_lines(unsigned length); /* questions are lines, answers `1\n` or `0\n` */
void ask_frames(unsigned length); /* questions and answers are ejabberd's frames */
const char *questions(unsigned long number); /* that one and MOST_IN_FLIGHT - 1 more behind it */
void check_answer(unsigned long number, const char *answer); /* ends the run if it is wrong */

/* child.c: the command under test. Whatever fails here or anywhere else ends the run. */
void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
void give_up_after(double seconds);
pid_t start_on_pipes(char **argv, int *to, int *from);
pid_t start_on_terminal(char **argv, int *master);
int connect_to(const char *path, pid_t *peer);
bool readable_within(int fd, int milliseconds);
void write_all(int fd, const char *bytes, size_t size);
void expect_end(int fd);     /* anything but end of input ends the run */
void expect_exit(pid_t pid); /* waits; anything but exit status 0 ends the run */

/* process.c: what a process has used so far, without its children; 0 if it cannot be known. */
unsigned long resident_kb(pid_t pid);
uint64_t cpu_ns(pid_t pid);
unsigned long sleeps(pid_t pid); /* how often it has gone to sleep: as often as it was woken */

/* figures.c: what is counted, timed and printed. Times are nanoseconds of the monotonic clock. */
uint64_t now_ns(void);
void measure(const struct plan *plan, pid_t pid); /* call once, before the first question */
bool measure_answers(unsigned long count, uint64_t now); /* true once the measurement is over */
void measure_latency(uint64_t nanoseconds);
void measure_delay(uint64_t nanoseconds); /* of a question that was asked later than planned */
void measure_rest(void);                  /* after the last answer: watches the process for plan.rest */
void print_figures(void);

/* stream.c, tagged.c, clock.c, hold.c, terminal.c, channels.c, start.c: the ways to ask. */
void run_stream(const struct plan *plan, char **argv, bool is_socket);
void run_tagged(const struct plan *plan, char **argv);
void run_by_the_clock(const struct plan *plan, char **argv);
void run_hold(const struct plan *plan, char **argv);
void run_terminal(const struct plan *plan, char **argv);
void run_channels(const struct plan *plan, char **argv);
void run_first(char **argv);
void run_raw(char **argv);
void run_exit(char **argv);

#endif

/* How long a command takes to start. All times begin right before fork. */
#include "load.h"

#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

static void print_time(uint64_t from, uint64_t to)
{
    printf("{\"ms\": %.3f}\n", (double)(to - from) / 1e6);
}

void run_first(char **argv)
{
    int to, from;
    char answer[2];
    uint64_t started = now_ns();
    pid_t pid = start_on_pipes(argv, &to, &from);
    write_all(to, questions(0), question_size);
    ssize_t got = read(from, answer, sizeof answer);
    uint64_t answered = now_ns();
    if (got != sizeof answer)
        fail("no answer came");
    check_answer(0, answer);
    close(to);
    expect_end(from);
    expect_exit(pid);
    print_time(started, answered);
}

static bool is_raw(int master)
{
    struct termios mode;
    return tcgetattr(master, &mode) == 0 && (mode.c_lflag & (ISIG | ICANON | ECHO)) == 0;
}

/* The master shows the terminal's mode too. ISIG is on at the start, the others may be off already. */
void run_raw(char **argv)
{
    int master, status;
    struct timespec pause = {.tv_nsec = 50000}; /* short against the time to measure, long for the CPU */
    uint64_t started = now_ns();
    pid_t pid = start_on_terminal(argv, &master);
    while (!is_raw(master)) {
        if (waitpid(pid, &status, WNOHANG) == pid)
            fail("the command ended without having set its terminal");
        nanosleep(&pause, NULL);
    }
    uint64_t raw = now_ns();
    close(master); /* hangs up, perhaps before the command is ready for that: any end of it will do */
    waitpid(pid, &status, 0);
    print_time(started, raw);
}

void run_exit(char **argv)
{
    int to, from;
    uint64_t started = now_ns();
    pid_t pid = start_on_pipes(argv, &to, &from);
    expect_exit(pid);
    print_time(started, now_ns());
}

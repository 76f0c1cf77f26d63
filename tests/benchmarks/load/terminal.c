/* The client as Prosody is one: a line to the terminal's master, select(2) for the answer, one read for it. */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

/* Prosody's own time limit for an answer. */
enum { PATIENCE = 5 /* seconds */ };

static bool answer_comes(int master)
{
    struct timeval patience = {.tv_sec = PATIENCE};
    fd_set wanted;
    FD_ZERO(&wanted);
    FD_SET(master, &wanted);
    return select(master + 1, &wanted, NULL, NULL, &patience) > 0;
}

static void read_answer(int master, unsigned long number)
{
    char bytes[256];
    ssize_t got = read(master, bytes, sizeof bytes);
    if (got < 0)
        fail("read: %s", strerror(errno));
    /* Prosody takes `1\r\n` too: a terminal that is not raw makes that of `1\n`. */
    if (got == 3 && bytes[1] == '\r') {
        bytes[1] = '\n';
        got = 2;
    }
    if (got != (ssize_t)answer_size)
        fail("this is no answer to question %lu: %.*s", number, (int)got, bytes);
    check_answer(number, bytes);
}

/* Where a bridge cannot see whether its client waits, it may keep the first answer to itself; no other. */
static void ask_first(int master)
{
    write_all(master, questions(0), question_size);
    if (answer_comes(master))
        read_answer(master, 0);
}

void run_terminal(const struct plan *plan, char **argv)
{
    int master;
    bool over = false;
    /* Prosody's main loop waits in epoll. With a set of our own we look like it to who looks when we wait. */
    int main_loop = epoll_create1(EPOLL_CLOEXEC);
    pid_t pid = start_on_terminal(argv, &master);

    ask_first(master);
    measure(plan, pid);
    for (unsigned long number = 1; !over; number++) {
        uint64_t asked = now_ns();
        write_all(master, questions(number), question_size);
        if (!answer_comes(master))
            fail("no answer to question %lu within %d s", number, PATIENCE);
        read_answer(master, number);
        uint64_t now = now_ns();
        measure_latency(now - asked);
        over = measure_answers(1, now);
    }
    measure_rest();
    if (readable_within(master, 0))
        fail("there was more output than answers");
    close(master);
    close(main_loop);
    waitpid(pid, NULL, 0); /* a hang-up may kill what does not care for it */
    print_figures();
}

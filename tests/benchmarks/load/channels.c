/* squid's way to have several questions in flight: each line begins with a channel's number, and so does its
 * answer; they come in any order.
 *
 * Made for squid's helper-mux, whose habits it allows for: a write must be taken by one read, stderr is a line
 * for every event, and the exit status means nothing.
 */
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct channel {
    bool busy;
    unsigned long number; /* of its question */
    uint64_t sent_at;
};

static struct channel channels[MOST_IN_FLIGHT];
static char output[PIPE_BUF];
static size_t output_size;
static unsigned long next_number;

static void ask(unsigned index, uint64_t now)
{
    char *into = output + output_size;
    size_t room = sizeof output - output_size;
    int size = snprintf(into, room, "%u %.*s", index, (int)question_size, questions(next_number));
    if ((size_t)size >= room)
        fail("fewer lines must be in flight: one write must hold them");
    output_size += (size_t)size;
    channels[index] = (struct channel){.busy = true, .number = next_number++, .sent_at = now};
}

static void send_questions(int to)
{
    write_all(to, output, output_size);
    output_size = 0;
}

static unsigned take(const char *line, unsigned in_flight, uint64_t now)
{
    char *answer;
    unsigned long index = strtoul(line, &answer, 10);
    if (answer == line || *answer != ' ' || index >= in_flight || !channels[index].busy)
        fail("an answer is for no question");
    check_answer(channels[index].number, answer + 1);
    measure_latency(now - channels[index].sent_at);
    channels[index].busy = false;
    return (unsigned)index;
}

/* Takes one read's answers and asks again on their channels; true when the measurement is over. */
static bool serve(int to, int from, unsigned in_flight, unsigned *busy)
{
    static char bytes[65536];
    static size_t size;
    ssize_t got = read(from, bytes + size, sizeof bytes - 1 - size);
    if (got <= 0)
        fail("the output ended with %u answers due", *busy);
    uint64_t now = now_ns();
    size += (size_t)got;
    bytes[size] = '\0';

    char *line = bytes, *end;
    bool over = false;
    for (; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        unsigned index = take(line, in_flight, now);
        over = measure_answers(1, now);
        if (over)
            --*busy;
        else
            ask(index, now);
    }
    send_questions(to);
    size -= (size_t)(line - bytes);
    memmove(bytes, line, size);
    return over;
}

void run_channels(const struct plan *plan, char **argv)
{
    int to, from;
    int silence = open("/dev/null", O_WRONLY | O_CLOEXEC);
    int stderr_copy = fcntl(2, F_DUPFD_CLOEXEC, 3);
    dup2(silence, 2);
    pid_t pid = start_on_pipes(argv, &to, &from);
    dup2(stderr_copy, 2);

    measure(plan, pid);
    unsigned busy = plan->in_flight;
    for (unsigned i = 0; i < busy; i++)
        ask(i, now_ns());
    send_questions(to);
    while (busy > 0)
        serve(to, from, plan->in_flight, &busy);
    measure_rest();
    close(to);
    expect_end(from);
    waitpid(pid, NULL, 0);
    print_figures();
}

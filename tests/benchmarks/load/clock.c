/* A client that asks by the clock, whatever comes back: an open loop.
 *
 * Question i is due i / rate seconds after the start, and its latency begins then: if the command stands still,
 * every question that was due in the meantime has waited for it. At most MOST_IN_FLIGHT are on their way (the
 * write would block); more wait here, and that is latency too. How much later than due a question was written
 * is counted apart: where that is not small, the load generator was starved or the command was behind.
 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static struct client client;
static uint64_t started;
static unsigned long asked_before; /* the warm-up's questions */

static void warm_up(const struct plan *plan)
{
    uint64_t now;
    ask(&client, plan->in_flight, now_ns());
    while (client.answered < plan->warm_up)
        ask(&client, read_answers(&client, &now), now_ns());
    while (client.answered < client.sent)
        read_answers(&client, &now);
    asked_before = client.sent;
}

static uint64_t due_at(unsigned long index, double rate)
{
    return started + (uint64_t)((double)index / rate * 1e9);
}

/* Whether one more may be asked when `count` are about to be. */
static bool may_ask(const struct plan *plan, unsigned count)
{
    unsigned long sent = client.sent + count;
    return sent - asked_before < plan->lines && sent - client.answered < MOST_IN_FLIGHT;
}

/* Asks all that is due and may be asked. */
static void ask_what_is_due(const struct plan *plan)
{
    uint64_t now = now_ns();
    unsigned count = 0;
    while (may_ask(plan, count)) {
        uint64_t due = due_at(client.sent - asked_before + count, plan->rate);
        if (due > now)
            break;
        client.asked_at[(client.sent + count++) % MOST_IN_FLIGHT] = due;
        measure_delay(now - due);
    }
    if (count > 0)
        send_questions(&client, count);
}

/* Until an answer is there (true) or the next question is due. */
static bool wait_for_answer(const struct plan *plan)
{
    struct pollfd one = {.fd = client.from, .events = POLLIN};
    struct timespec left = {0};
    bool more = may_ask(plan, 0);
    if (more) {
        uint64_t now = now_ns(), due = due_at(client.sent - asked_before, plan->rate);
        uint64_t wait = due > now ? due - now : 0;
        left = (struct timespec){(time_t)(wait / 1000000000), (long)(wait % 1000000000)};
    }
    int ready = ppoll(&one, 1, more ? &left : NULL, NULL);
    if (ready < 0)
        fail("ppoll: %s", strerror(errno));
    return ready > 0;
}

void run_by_the_clock(const struct plan *wanted, char **argv)
{
    struct plan plan = *wanted;
    plan.lines = (unsigned long)(plan.rate * plan.seconds);
    if (plan.lines == 0)
        fail("-r and -s leave nothing to ask");
    pid_t pid = open_on_pipes(&client, &plan, argv);
    prctl(PR_SET_TIMERSLACK, 1UL); /* ours alone: else the kernel may wake us 50 µs late */
    warm_up(&plan);
    plan.warm_up = 0;
    measure(&plan, pid);
    started = now_ns();
    bool over = false;
    while (!over) {
        ask_what_is_due(&plan);
        if (wait_for_answer(&plan)) {
            uint64_t now;
            unsigned count = read_answers(&client, &now);
            over = measure_answers(count, now);
        }
    }
    measure_rest();
    close(client.to);
    expect_end(client.from);
    expect_exit(pid);
    print_figures();
}

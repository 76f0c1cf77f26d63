/* How much memory a question in flight needs. */
#include "client.h"

#include <stdio.h>
#include <unistd.h>

static struct client client;

/* The most memory in use until all of `count` questions are answered. */
static unsigned long peak_while_answering(pid_t pid, unsigned count)
{
    uint64_t now;
    unsigned long peak = 0;
    ask(&client, count, now_ns());
    while (client.answered < client.sent) {
        unsigned long resident = resident_kb(pid);
        peak = resident > peak ? resident : peak;
        if (readable_within(client.from, 2))
            read_answers(&client, &now);
    }
    return peak;
}

/* `warm_up` questions one at a time show what the command needs at all; what `in_flight` add is theirs. */
void run_hold(const struct plan *plan, char **argv)
{
    pid_t pid = open_on_pipes(&client, plan, argv);
    unsigned long one = 0;
    for (unsigned long i = 0; i < plan->warm_up; i++)
        one = peak_while_answering(pid, 1);
    unsigned long all = peak_while_answering(pid, plan->in_flight);
    close(client.to);
    expect_end(client.from);
    expect_exit(pid);
    double bytes = all < one ? 0 : (double)(all - one) * 1024 / plan->in_flight;
    printf("{\"lines\": %lu, \"rss_kb\": %lu, \"held_rss_kb\": %lu, \"bytes_per_query\": %.1f}\n",
           client.answered, one, all, bytes);
}

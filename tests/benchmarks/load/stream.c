/* Clients of the pipelined kind: each keeps its number of questions in flight on a stream, in order. */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct client {
    int to, from;
    unsigned long first;            /* the question it begins with: each client has others */
    unsigned long sent, answered;
    char bytes[4 * MOST_IN_FLIGHT]; /* read and not yet taken: part of an answer, between two reads */
    size_t size;
    uint64_t sent_at[MOST_IN_FLIGHT];
};

static struct client clients[MOST_CLIENTS];

static void ask(struct client *client, unsigned count, uint64_t now)
{
    for (unsigned i = 0; i < count; i++)
        client->sent_at[(client->sent + i) % MOST_IN_FLIGHT] = now;
    write_all(client->to, questions(client->first + client->sent), count * question_size);
    client->sent += count;
}

static void take(struct client *client, const char *answer, uint64_t now)
{
    if (client->answered == client->sent)
        fail("there was more output than answers");
    check_answer(client->first + client->answered, answer);
    measure_latency(now - client->sent_at[client->answered % MOST_IN_FLIGHT]);
    client->answered++;
}

/* Reads what there is, at least one byte; how many answers it completed. `*now` is the time after the read. */
static unsigned read_answers(struct client *client, uint64_t *now)
{
    ssize_t got = read(client->from, client->bytes + client->size, sizeof client->bytes - client->size);
    if (got < 0)
        fail("read: %s", strerror(errno));
    if (got == 0)
        fail("the output ended after %lu of %lu answers", client->answered, client->sent);
    *now = now_ns();
    client->size += (size_t)got;
    unsigned count = (unsigned)(client->size / answer_size);
    for (unsigned i = 0; i < count; i++)
        take(client, client->bytes + i * answer_size, *now);
    client->size -= count * answer_size;
    memmove(client->bytes, client->bytes + count * answer_size, client->size);
    return count;
}

/* Reads from one client and asks as much again; true when the measurement is over. */
static bool serve(struct client *client)
{
    uint64_t now;
    unsigned count = read_answers(client, &now);
    bool over = measure_answers(count, now);
    if (!over)
        ask(client, count, now);
    return over;
}

static void closed_loop(unsigned count)
{
    struct pollfd ready[MOST_CLIENTS];
    bool over = false;
    for (unsigned i = 0; i < count; i++)
        ready[i] = (struct pollfd){.fd = clients[i].from, .events = POLLIN};
    while (!over) {
        /* A single client's read waits well enough by itself. */
        if (count > 1 && poll(ready, count, -1) < 0)
            fail("poll: %s", strerror(errno));
        for (unsigned i = 0; i < count; i++)
            if (count == 1 || ready[i].revents != 0)
                over |= serve(&clients[i]);
    }
}

static void take_answers_due(struct client *client)
{
    uint64_t now;
    while (client->answered < client->sent)
        measure_answers(read_answers(client, &now), now);
    if (client->size > 0)
        fail("there was more output than answers");
}

static void end_input(struct client *client, bool is_socket)
{
    if (is_socket)
        shutdown(client->to, SHUT_WR);
    else
        close(client->to);
    expect_end(client->from);
}

static pid_t open_clients(const struct plan *plan, char **argv, bool is_socket)
{
    if (!is_socket && plan->clients > 1)
        fail("only a socket takes more than one client");
    for (unsigned i = 0; i < plan->clients; i++) {
        clients[i].first = i * 61; /* any number: what matters is that the clients' answers differ */
        if (is_socket)
            clients[i].to = clients[i].from = connect_to(argv[0]);
    }
    return is_socket ? 0 : start_on_pipes(argv, &clients[0].to, &clients[0].from);
}

void run_stream(const struct plan *plan, char **argv, bool is_socket)
{
    pid_t pid = open_clients(plan, argv, is_socket);
    measure(plan);
    for (unsigned i = 0; i < plan->clients; i++)
        ask(&clients[i], plan->in_flight, now_ns());
    closed_loop(plan->clients);
    for (unsigned i = 0; i < plan->clients; i++)
        take_answers_due(&clients[i]);
    unsigned long resident = is_socket ? 0 : resident_kb(pid);
    for (unsigned i = 0; i < plan->clients; i++)
        end_input(&clients[i], is_socket);
    if (!is_socket)
        expect_exit(pid);
    print_figures(resident);
}

/* The most memory in use until all of `count` questions are answered. */
static unsigned long peak_while_answering(struct client *client, pid_t pid, unsigned count)
{
    uint64_t now;
    unsigned long peak = 0;
    ask(client, count, now_ns());
    while (client->answered < client->sent) {
        unsigned long resident = resident_kb(pid);
        peak = resident > peak ? resident : peak;
        if (readable_within(client->from, 2))
            read_answers(client, &now);
    }
    return peak;
}

/* `warm_up` questions one at a time show what the command needs at all; what `in_flight` add is theirs. */
void run_hold(const struct plan *plan, char **argv)
{
    pid_t pid = open_clients(plan, argv, false);
    unsigned long one = 0;
    for (unsigned long i = 0; i < plan->warm_up; i++)
        one = peak_while_answering(&clients[0], pid, 1);
    unsigned long all = peak_while_answering(&clients[0], pid, plan->in_flight);
    end_input(&clients[0], false);
    expect_exit(pid);
    double bytes = all < one ? 0 : (double)(all - one) * 1024 / plan->in_flight;
    printf("{\"lines\": %lu, \"rss_kb\": %lu, \"held_rss_kb\": %lu, \"bytes_per_query\": %.1f}\n",
           clients[0].answered, one, all, bytes);
}

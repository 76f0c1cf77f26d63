/* Clients of the pipelined kind: each keeps its number of questions in flight on a stream, in order. */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct client clients[MOST_CLIENTS];

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

static int watch_all(unsigned count)
{
    int events_fd = epoll_create1(EPOLL_CLOEXEC);
    for (unsigned i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        if (epoll_ctl(events_fd, EPOLL_CTL_ADD, clients[i].from, &event) < 0)
            fail("epoll_ctl: %s", strerror(errno));
    }
    return events_fd;
}

static void closed_loop(unsigned count)
{
    struct epoll_event events[MOST_CLIENTS];
    bool over = false;
    if (count == 1) { /* its read waits well enough by itself */
        while (!serve(&clients[0]))
            ;
        return;
    }
    int events_fd = watch_all(count);
    while (!over) {
        int ready = epoll_wait(events_fd, events, MOST_CLIENTS, -1);
        if (ready < 0)
            fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < ready; i++)
            over |= serve(events[i].data.ptr);
    }
    close(events_fd);
}

static pid_t open_clients(const struct plan *plan, char **argv, bool is_socket)
{
    pid_t pid = 0;
    if (!is_socket && plan->clients > 1)
        fail("only a socket takes more than one client");
    for (unsigned i = 0; i < plan->clients; i++) {
        clients[i].first = i * 61; /* any number: what matters is that the clients' answers differ */
        if (is_socket)
            clients[i].to = clients[i].from = connect_to(argv[0], &pid);
    }
    return is_socket ? pid : open_on_pipes(&clients[0], plan, argv);
}

void run_stream(const struct plan *plan, char **argv, bool is_socket)
{
    pid_t pid = open_clients(plan, argv, is_socket);
    measure(plan, pid);
    for (unsigned i = 0; i < plan->clients; i++)
        ask(&clients[i], plan->in_flight, now_ns());
    closed_loop(plan->clients);
    for (unsigned i = 0; i < plan->clients; i++)
        take_answers_due(&clients[i]);
    measure_rest();
    for (unsigned i = 0; i < plan->clients; i++) {
        if (is_socket)
            shutdown(clients[i].to, SHUT_WR);
        else
            close(clients[i].to);
        expect_end(clients[i].from);
    }
    if (!is_socket)
        expect_exit(pid);
    print_figures();
}

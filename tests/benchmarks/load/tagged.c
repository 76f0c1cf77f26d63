/* Clients of the daemon's tagged protocol: every line has a tag and an address, every answer its line's tag; they come
 * in any order. Each client has as many tags as lines in flight, and each tag an address of its own.
 */
#include "load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    ADDRESSES = 200,
    HEAD = sizeof "0000 192.0.2.100 " - 1,
    TAG = sizeof "0000 " - 1, /* as in an answer */
    MOST_OUTPUT = MOST_IN_FLIGHT * (HEAD + 128),
};

struct line {
    char head[HEAD + 1];
    size_t head_size;
    bool busy;
    unsigned long number; /* of its question */
    uint64_t asked_at;
};

struct tagged {
    int fd;
    unsigned long next; /* question */
    unsigned due;
    struct line lines[MOST_IN_FLIGHT];
    char bytes[16 * MOST_IN_FLIGHT];
    size_t size;
};

static struct tagged clients[MOST_CLIENTS];
static char output[MOST_OUTPUT];
static size_t output_size;

static void ask(struct tagged *client, struct line *line, uint64_t now)
{
    if (line->head_size + question_size > sizeof output - output_size)
        fail("shorter lines, or fewer, must be in flight: one write must hold them");
    memcpy(output + output_size, line->head, line->head_size);
    memcpy(output + output_size + line->head_size, questions(client->next), question_size);
    output_size += line->head_size + question_size;
    line->busy = true;
    line->number = client->next++;
    line->asked_at = now;
    client->due++;
}

static void send_questions(struct tagged *client)
{
    write_all(client->fd, output, output_size);
    output_size = 0;
}

static struct line *take(struct tagged *client, const char *answer, const struct plan *plan, uint64_t now)
{
    char *end;
    unsigned long tag = strtoul(answer, &end, 10);
    if (end != answer + TAG - 1 || *end != ' ' || tag >= plan->in_flight || !client->lines[tag].busy)
        fail("an answer is for no question");
    struct line *line = &client->lines[tag];
    check_answer(line->number, answer + TAG);
    measure_latency(now - line->asked_at);
    line->busy = false;
    client->due--;
    return line;
}

/* Takes one read's answers, and asks again with their tags unless it is over; true when it is. */
static bool serve(struct tagged *client, const struct plan *plan, bool over)
{
    ssize_t got = read(client->fd, client->bytes + client->size, sizeof client->bytes - client->size);
    if (got <= 0)
        fail("the output ended with %u answers due", client->due);
    uint64_t now = now_ns();
    client->size += (size_t)got;
    size_t whole = client->size / (TAG + answer_size), used = whole * (TAG + answer_size);
    over |= measure_answers(whole, now);
    for (size_t at = 0; at < used; at += TAG + answer_size) {
        struct line *line = take(client, client->bytes + at, plan, now);
        if (!over)
            ask(client, line, now);
    }
    send_questions(client);
    client->size -= used;
    memmove(client->bytes, client->bytes + used, client->size);
    return over;
}

static pid_t begin(struct tagged *client, unsigned index, const struct plan *plan, const char *path)
{
    static const char hello[] = "extauth-bridge:tagged:1\n";
    char answer[2];
    pid_t pid;
    client->fd = connect_to(path, &pid);
    client->next = index * 61; /* any number: what matters is that the clients' answers differ */
    for (unsigned i = 0; i < plan->in_flight; i++) {
        struct line *line = &client->lines[i];
        unsigned address = 1 + (index * plan->in_flight + i) % ADDRESSES;
        const char *form = plan->nameless ? "%04u - " : "%04u 192.0.2.%u ";
        line->head_size = (size_t)snprintf(line->head, sizeof line->head, form, i, address);
    }
    write_all(client->fd, hello, sizeof hello - 1);
    if (read(client->fd, answer, sizeof answer) != sizeof answer || memcmp(answer, "1\n", sizeof answer) != 0)
        fail("the tagged protocol is not spoken here");
    return pid;
}

void run_tagged(const struct plan *plan, char **argv)
{
    struct epoll_event events[MOST_CLIENTS];
    int events_fd = epoll_create1(EPOLL_CLOEXEC);
    pid_t pid = 0;
    for (unsigned i = 0; i < plan->clients; i++) {
        pid = begin(&clients[i], i, plan, argv[0]);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        if (epoll_ctl(events_fd, EPOLL_CTL_ADD, clients[i].fd, &event) < 0)
            fail("epoll_ctl: %s", strerror(errno));
    }
    measure(plan, pid);
    for (unsigned i = 0; i < plan->clients; i++) {
        for (unsigned j = 0; j < plan->in_flight; j++)
            ask(&clients[i], &clients[i].lines[j], now_ns());
        send_questions(&clients[i]);
    }
    for (bool over = false; !over;) {
        int ready = epoll_wait(events_fd, events, MOST_CLIENTS, -1);
        if (ready < 0)
            fail("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < ready; i++)
            over |= serve(events[i].data.ptr, plan, over);
    }
    for (unsigned i = 0; i < plan->clients; i++) {
        while (clients[i].due > 0)
            serve(&clients[i], plan, true);
        shutdown(clients[i].fd, SHUT_WR);
        expect_end(clients[i].fd);
    }
    close(events_fd);
    print_figures();
}

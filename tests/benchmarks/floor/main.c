/* The floor: how fast a multiplexer of this design can be at all.
 *
 *     floor [-u SOCKET] POOL PROGRAM [ARGUMENT...]
 *
 * Generic lines on stdin, POOL ejabberd programs on pipes, one frame in flight per program, answers on stdout
 * in the order of the lines. With -u the clients are those of a Unix socket, any number of them, until SIGTERM.
 * It batches what can be batched: one read takes many lines, one write many answers.
 * It lacks what makes a bridge fit for use: no deadline, no restart, no checks but a line's length. What goes
 * wrong ends it with one line on stderr and exit status 1; end of input with 0 after the last answer.
 */
#include "floor.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 64 };

static int events_fd;
static volatile sig_atomic_t told_to_end;

void watch(struct source *source)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};
    if (epoll_ctl(events_fd, EPOLL_CTL_ADD, source->fd, &event) < 0)
        err(1, "epoll_ctl");
}

void unwatch(struct source *source)
{
    if (epoll_ctl(events_fd, EPOLL_CTL_DEL, source->fd, NULL) < 0)
        err(1, "epoll_ctl");
}

void write_all(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        ssize_t n = write(fd, bytes, size);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            err(1, "write");
        bytes += n;
        size -= (size_t)n;
    }
}

static void handle_events(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(events_fd, events, EVENTS, -1);
    if (count < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < count; i++) {
        struct source *source = events[i].data.ptr;
        source->ready(source);
        ask_what_waits(); /* at once: a program must not wait for the rest of the batch */
    }
}

static void end(int number)
{
    (void)number;
    told_to_end = 1;
}

int main(int argc, char **argv)
{
    const char *path = NULL;
    int option;
    while ((option = getopt(argc, argv, "+u:")) != -1) {
        if (option != 'u')
            return 2;
        path = optarg;
    }
    argv += optind;
    argc -= optind;
    unsigned pool = argc > 1 ? (unsigned)atoi(argv[0]) : 0;
    if (pool < 1 || pool > MAX_POOL)
        errx(2, "usage: floor [-u SOCKET] POOL PROGRAM [ARGUMENT...], POOL from 1 to %d", MAX_POOL);
    events_fd = epoll_create1(EPOLL_CLOEXEC);
    if (events_fd < 0)
        err(1, "epoll_create");
    start_programs(pool, argv + 1);
    if (path != NULL) {
        signal(SIGTERM, end);
        listen_on(path);
    } else
        open_client(0, 1);

    while (anybody_is_left() && !told_to_end) {
        handle_events();
        write_answers();
    }
    end_programs();
    return 0;
}

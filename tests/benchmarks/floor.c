/* The floor: how fast a multiplexer of this design can be at all.
 *
 *     floor POOL PROGRAM [ARGUMENT...]
 *
 * Generic lines on stdin, POOL ejabberd programs on pipes, one frame in flight per program, answers on stdout
 * in the order of the lines. It batches what can be batched: one read takes many lines, one write many answers.
 * It lacks what makes a bridge fit for use: no deadline, no restart, no checks but a line's length. What goes
 * wrong ends it with one line on stderr and exit status 1; end of input with 0 after the last answer.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    WINDOW = 1024,      /* questions in flight; a power of two, so that the ring's index may overflow */
    MAX_LINE = 1000,    /* Prosody sends no longer ones */
    MAX_POOL = 256,
    EVENTS = 64,
    CLIENT = MAX_POOL,  /* stdin's number among the epoll events; the others are the programs' */
};

struct question {
    char answer;        /* '0' or '1', 0 while it is not known */
    size_t frame_size;
    char frame[2 + MAX_LINE];
};

struct program {
    int to, from;
    struct question *asked; /* NULL while it is idle */
    char reply[4];
    size_t reply_size;
};

/* The ring, by ever growing numbers: answered <= asked <= taken. */
static struct question ring[WINDOW];
static unsigned answered, asked, taken;

static struct program programs[MAX_POOL];
static unsigned pool;

/* A stack, so that the program asked last, whose memory is still in the cache, is asked first. */
static struct program *idle[MAX_POOL];
static unsigned idle_count;

static char input[65536];
static size_t input_start, input_size;
static bool input_ended, client_watched;
static int events_fd;

/* -------------------------------------------------------------------------------------- descriptors */

static void watch(int fd, unsigned number)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    if (epoll_ctl(events_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        err(1, "epoll_ctl");
}

/* Stdin is taken out of the set, not only disarmed: epoll reports a hang-up even of what is disarmed. */
static void watch_client(bool wanted)
{
    if (wanted == client_watched)
        return;
    if (wanted)
        watch(0, CLIENT);
    else if (epoll_ctl(events_fd, EPOLL_CTL_DEL, 0, NULL) < 0)
        err(1, "epoll_ctl");
    client_watched = wanted;
}

static void write_all(int fd, const char *bytes, size_t size)
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

/* ----------------------------------------------------------------------------------------- programs */

static void start_program(unsigned number, char **argv)
{
    int to[2], from[2];
    if (pipe2(to, O_CLOEXEC) < 0 || pipe2(from, O_CLOEXEC) < 0)
        err(1, "pipe");
    pid_t pid = fork();
    if (pid < 0)
        err(1, "fork");
    if (pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execv(argv[0], argv);
        err(127, "%s", argv[0]);
    }
    close(to[0]);
    close(from[1]);
    programs[number] = (struct program){.to = to[1], .from = from[0]};
    watch(from[0], number);
    idle[idle_count++] = &programs[number];
}

/* Gives the oldest waiting questions to the idle programs. What is already answered is not asked. */
static void ask_what_waits(void)
{
    while (idle_count > 0 && asked != taken) {
        struct question *question = &ring[asked++ % WINDOW];
        if (question->answer != 0)
            continue;
        struct program *program = idle[--idle_count];
        program->asked = question;
        write_all(program->to, question->frame, question->frame_size);
    }
}

static void take_reply(struct program *program)
{
    /* One byte more than a reply may have, so that a second reply is seen. */
    char bytes[sizeof program->reply + 1];
    ssize_t got = read(program->from, bytes, sizeof bytes - program->reply_size);
    if (got <= 0)
        errx(1, "a program has ended");
    if (program->asked == NULL || program->reply_size + (size_t)got > sizeof program->reply)
        errx(1, "a program said more than it was asked");
    memcpy(program->reply + program->reply_size, bytes, (size_t)got);
    program->reply_size += (size_t)got;
    if (program->reply_size < sizeof program->reply)
        return;

    if (memcmp(program->reply, "\0\2\0", 3) != 0 || (program->reply[3] & ~1) != 0)
        errx(1, "a program's reply is none of the protocol's");
    program->asked->answer = program->reply[3] ? '1' : '0';
    program->asked = NULL;
    program->reply_size = 0;
    idle[idle_count++] = program;
}

/* ------------------------------------------------------------------------------------------- client */

static void take_line(const char *line, size_t size)
{
    struct question *question = &ring[taken++ % WINDOW];
    if (size > 0 && line[size - 1] == '\r')
        size--;
    if (size == 0 || size > MAX_LINE) {
        question->answer = '0';
        return;
    }
    question->answer = 0;
    question->frame[0] = (char)(size >> 8);
    question->frame[1] = (char)size;
    memcpy(question->frame + 2, line, size);
    question->frame_size = size + 2;
}

/* Takes lines from the buffer while the window has room; what is left moves to the buffer's start. */
static void take_lines(void)
{
    const char *end;
    while (taken - answered < WINDOW
           && (end = memchr(input + input_start, '\n', input_size - input_start)) != NULL) {
        take_line(input + input_start, (size_t)(end - input) - input_start);
        input_start = (size_t)(end - input) + 1;
    }
    memmove(input, input + input_start, input_size - input_start);
    input_size -= input_start;
    input_start = 0;
}

static void read_client(void)
{
    ssize_t got = read(0, input + input_size, sizeof input - input_size);
    if (got < 0)
        err(1, "read");
    input_size += (size_t)got;
    input_ended = got == 0;
    if (input_ended && input_size > 0)
        input[input_size++] = '\n'; /* the last line counts without one; a full buffer was refused below */
    take_lines();
    if (input_size == sizeof input && taken - answered < WINDOW)
        errx(1, "a line is longer than the buffer");
}

/* Writes the answers that are due, in the order of the lines; false if there were none. It may block: a client
 * that does not read its answers has no use for more of them. */
static bool write_answers(void)
{
    char answers[2 * WINDOW];
    size_t size = 0;
    while (answered != asked && ring[answered % WINDOW].answer != 0) {
        answers[size++] = ring[answered++ % WINDOW].answer;
        answers[size++] = '\n';
    }
    write_all(1, answers, size);
    return size > 0;
}

/* --------------------------------------------------------------------------------------------- main */

static void handle_events(void)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(events_fd, events, EVENTS, -1);
    if (count < 0 && errno != EINTR)
        err(1, "epoll_wait");
    for (int i = 0; i < count; i++) {
        if (events[i].data.u32 == CLIENT)
            read_client();
        else
            take_reply(&programs[events[i].data.u32]);
        ask_what_waits(); /* at once: a program must not wait for the rest of the batch */
    }
}

static void end_programs(void)
{
    for (unsigned i = 0; i < pool; i++)
        close(programs[i].to);
    while (wait(NULL) > 0)
        ;
}

int main(int argc, char **argv)
{
    pool = argc > 2 ? (unsigned)atoi(argv[1]) : 0;
    if (pool < 1 || pool > MAX_POOL)
        errx(2, "usage: floor POOL PROGRAM [ARGUMENT...], POOL from 1 to %d", MAX_POOL);
    events_fd = epoll_create1(EPOLL_CLOEXEC);
    if (events_fd < 0)
        err(1, "epoll_create");
    for (unsigned i = 0; i < pool; i++)
        start_program(i, argv + 2);

    while (!input_ended || answered != taken) {
        watch_client(!input_ended && taken - answered < WINDOW);
        handle_events();
        while (write_answers()) { /* and the window may have room again for lines read before */
            take_lines();
            ask_what_waits();
        }
    }
    end_programs();
    return 0;
}

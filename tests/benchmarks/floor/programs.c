/* The pool: which program has which question, and what waits for one. */
#include "floor.h"

#include <err.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct program {
    struct source from;
    int to;
    struct question *asked; /* NULL while it is idle */
    char reply[4];
    size_t reply_size;
};

static struct program programs[MAX_POOL];
static unsigned pool;

/* A stack, so that the program asked last, whose memory is still in the cache, is asked first. */
static struct program *idle[MAX_POOL];
static unsigned idle_count;

/* What waits, the oldest first. */
static struct question *oldest, **behind_youngest = &oldest;

void wait_for_program(struct question *question)
{
    question->next = NULL;
    *behind_youngest = question;
    behind_youngest = &question->next;
}

void ask_what_waits(void)
{
    while (idle_count > 0 && oldest != NULL) {
        struct question *question = oldest;
        oldest = question->next;
        if (oldest == NULL)
            behind_youngest = &oldest;
        struct program *program = idle[--idle_count];
        program->asked = question;
        write_all(program->to, question->frame, question->frame_size);
    }
}

static void take_reply(struct source *from)
{
    struct program *program = (struct program *)from;
    /* One byte more than a reply may have, so that a second reply is seen. */
    char bytes[sizeof program->reply + 1];
    ssize_t got = read(from->fd, bytes, sizeof bytes - program->reply_size);
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
    answer_due(program->asked->client);
    program->asked = NULL;
    program->reply_size = 0;
    idle[idle_count++] = program;
}

static void start_program(struct program *program, char **argv)
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
    *program = (struct program){.from = {.fd = from[0], .ready = take_reply}, .to = to[1]};
    watch(&program->from);
    idle[idle_count++] = program;
}

void start_programs(unsigned count, char **argv)
{
    for (pool = 0; pool < count; pool++)
        start_program(&programs[pool], argv);
}

void end_programs(void)
{
    for (unsigned i = 0; i < pool; i++)
        close(programs[i].to);
    while (wait(NULL) > 0)
        ;
}

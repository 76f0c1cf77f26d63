/* The clients: lines in, answers out in the order of the lines. */
#include "floor.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
    struct source from;
    int to;
    bool ended, watched, due;
    struct client *next_due;

    /* The ring, by ever growing numbers: answered <= taken. */
    struct question *ring[WINDOW];
    unsigned answered, taken;

    char input[65536];
    size_t size;
};

static unsigned client_count;
static struct source listener;
static struct client *due; /* those with something to write */

/* A stack of what is not in use: the question used last, still in the cache, is used first. */
static struct question *spare;

static struct question *new_question(struct client *client)
{
    struct question *question = spare;
    if (question != NULL)
        spare = question->next;
    else if ((question = malloc(sizeof *question)) == NULL)
        err(1, "malloc");
    question->client = client;
    question->answer = 0;
    return question;
}

static void free_question(struct question *question)
{
    question->next = spare;
    spare = question;
}

/* ------------------------------------------------------------------------------------------- answers */

void answer_due(struct client *client)
{
    if (client->due)
        return;
    client->due = true;
    client->next_due = due;
    due = client;
}

/* Writes the answers that are due, in the order of the lines; false if there were none. It may block: a client
 * that does not read its answers has no use for more of them. */
static bool write_answers_of(struct client *client)
{
    char answers[2 * WINDOW];
    size_t size = 0;
    while (client->answered != client->taken && client->ring[client->answered % WINDOW]->answer != 0) {
        struct question *question = client->ring[client->answered++ % WINDOW];
        answers[size++] = question->answer;
        answers[size++] = '\n';
        free_question(question);
    }
    write_all(client->to, answers, size);
    return size > 0;
}

/* --------------------------------------------------------------------------------------------- lines */

static void take_line(struct client *client, const char *line, size_t size)
{
    struct question *question = new_question(client);
    client->ring[client->taken++ % WINDOW] = question;
    if (size > 0 && line[size - 1] == '\r')
        size--;
    if (size == 0 || size > MAX_LINE) {
        question->answer = '0';
        answer_due(client);
        return;
    }
    question->frame[0] = (char)(size >> 8);
    question->frame[1] = (char)size;
    memcpy(question->frame + 2, line, size);
    question->frame_size = size + 2;
    wait_for_program(question);
}

static bool has_room(const struct client *client)
{
    return client->taken - client->answered < WINDOW;
}

/* Takes lines from the buffer while the window has room; what is left moves to the buffer's start. */
static void take_lines(struct client *client)
{
    const char *start = client->input, *stop = client->input + client->size, *end;
    while (has_room(client) && (end = memchr(start, '\n', (size_t)(stop - start))) != NULL) {
        take_line(client, start, (size_t)(end - start));
        start = end + 1;
    }
    client->size = (size_t)(stop - start);
    memmove(client->input, start, client->size);
}

/* A client is taken out of the set, not only disarmed: epoll reports a hang-up even of what is disarmed. */
static void watch_client(struct client *client, bool wanted)
{
    if (wanted == client->watched)
        return;
    if (wanted)
        watch(&client->from);
    else
        unwatch(&client->from);
    client->watched = wanted;
}

static void read_client(struct source *from)
{
    struct client *client = (struct client *)from;
    ssize_t got = read(from->fd, client->input + client->size, sizeof client->input - client->size);
    if (got < 0)
        err(1, "read");
    client->size += (size_t)got;
    client->ended = got == 0;
    if (client->ended && client->size > 0)
        client->input[client->size++] = '\n'; /* the last line counts without one; a full buffer is refused */
    take_lines(client);
    if (client->size == sizeof client->input && has_room(client))
        errx(1, "a line is longer than the buffer");
    if (client->ended || !has_room(client))
        answer_due(client); /* or it would not be looked at before its next answer */
}

/* --------------------------------------------------------------------------------- their life and end */

void open_client(int from, int to)
{
    struct client *client = calloc(1, sizeof *client);
    if (client == NULL)
        err(1, "calloc");
    client->from = (struct source){.fd = from, .ready = read_client};
    client->to = to;
    watch_client(client, true);
    client_count++;
}

static void close_client(struct client *client)
{
    close(client->from.fd);
    free(client);
    client_count--;
}

void write_answers(void)
{
    while (due != NULL) {
        struct client *client = due;
        due = client->next_due;
        client->due = false;
        while (write_answers_of(client)) { /* and the window may have room again for lines read before */
            take_lines(client);
            ask_what_waits();
        }
        watch_client(client, !client->ended && has_room(client));
        if (client->ended && client->answered == client->taken)
            close_client(client);
    }
}

static void accept_client(struct source *source)
{
    int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        err(1, "accept");
    open_client(fd, fd);
}

void listen_on(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        errx(2, "the socket's path is too long");
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, SOMAXCONN) < 0)
        err(1, "%s", path);
    listener = (struct source){.fd = fd, .ready = accept_client};
    watch(&listener);
}

bool anybody_is_left(void)
{
    return client_count > 0 || listener.ready != NULL;
}

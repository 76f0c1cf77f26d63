/* See client.h. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { USUAL_PIPE = 65536 };

void send_questions(struct client *client, unsigned count)
{
    write_all(client->to, questions(client->first + client->sent), count * question_size);
    client->sent += count;
}

void ask(struct client *client, unsigned count, uint64_t now)
{
    for (unsigned i = 0; i < count; i++)
        client->asked_at[(client->sent + i) % MOST_IN_FLIGHT] = now;
    send_questions(client, count);
}

static void take(struct client *client, const char *answer, uint64_t now)
{
    if (client->answered == client->sent)
        fail("there was more output than answers");
    check_answer(client->first + client->answered, answer);
    measure_latency(now - client->asked_at[client->answered % MOST_IN_FLIGHT]);
    client->answered++;
}

unsigned read_answers(struct client *client, uint64_t *now)
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

void take_answers_due(struct client *client)
{
    uint64_t now;
    while (client->answered < client->sent)
        measure_answers(read_answers(client, &now), now);
    if (client->size > 0)
        fail("there was more output than answers");
}

pid_t open_on_pipes(struct client *client, const struct plan *plan, char **argv)
{
    pid_t pid = start_on_pipes(argv, &client->to, &client->from);
    size_t most = plan->in_flight * question_size;
    if (most > USUAL_PIPE && fcntl(client->to, F_SETPIPE_SZ, (int)most) < 0)
        fail("a pipe for so many long lines: %s", strerror(errno));
    return pid;
}

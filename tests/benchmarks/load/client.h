/* A client that asks in order on a stream and checks what comes back. */
#ifndef CLIENT_H
#define CLIENT_H

#include "load.h"

struct client {
    int to, from;
    unsigned long first;            /* the question it begins with: each client has others */
    unsigned long sent, answered;
    char bytes[4 * MOST_IN_FLIGHT]; /* read and not yet taken: part of an answer, between two reads */
    size_t size;
    uint64_t asked_at[MOST_IN_FLIGHT]; /* when its latency begins, of each question in flight */
};

/* Asks `count` more questions, all of them as of `now`. */
void ask(struct client *client, unsigned count, uint64_t now);

/* The same where the caller has set `asked_at` of each. */
void send_questions(struct client *client, unsigned count);

/* Reads what there is, at least one byte; how many answers it completed. `*now` is the time after the read. */
unsigned read_answers(struct client *client, uint64_t *now);

void take_answers_due(struct client *client);

/* On a command's pipes, which get room for all that is to be in flight. */
pid_t open_on_pipes(struct client *client, const struct plan *plan, char **argv);

#endif

/* The floor's parts. main.c says what it does and how it is called. */
#ifndef FLOOR_H
#define FLOOR_H

#include <stdbool.h>
#include <stddef.h>

enum {
    WINDOW = 1024,   /* questions in flight for each client; a power of two, so that indexes may overflow */
    MAX_LINE = 4096, /* the bridge's default */
    MAX_POOL = 256,
};

/* What is in the epoll set: `ready` is called when `fd` can be read. The first member of what it belongs to. */
struct source {
    int fd;
    void (*ready)(struct source *);
};

struct client;

struct question {
    struct client *client;
    struct question *next; /* among those that wait, or that are not in use */
    char answer;           /* '0' or '1', 0 while it is not known */
    size_t frame_size;
    char frame[2 + MAX_LINE];
};

/* main.c */
void watch(struct source *source);
void unwatch(struct source *source);
void write_all(int fd, const char *bytes, size_t size);

/* programs.c */
void start_programs(unsigned count, char **argv);
void wait_for_program(struct question *question); /* first come, first served */
void ask_what_waits(void);
void end_programs(void);

/* clients.c */
void open_client(int from, int to);
void listen_on(const char *path);
bool anybody_is_left(void);
void answer_due(struct client *client); /* once everything that happened has been looked at */
void write_answers(void);

#endif

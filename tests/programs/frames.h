/* What the C programs here share: frames on descriptors 0 and 1, the truth table of wire.py, and its journal. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { LONGEST = 65536 };

static const unsigned char YES[4] = {0, 2, 0, 1}, NO[4] = {0, 2, 0, 0};

static double now(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

/* Busy for so long: sleeping would take 50 microseconds more than asked for. */
static void work(long microseconds)
{
    for (double end = now() + (double)microseconds / 1e6; microseconds > 0 && now() < end;)
        ;
}

/* The program leaves when nobody reads it any more. */
static void put(const unsigned char *data, size_t count)
{
    while (count > 0) {
        ssize_t done = write(1, data, count);
        if (done < 0)
            _exit(0);
        data += done;
        count -= (size_t)done;
    }
}

/* Appends one event to the journal, if the test has asked for one. */
static void note(const char *event, const unsigned char *body, size_t size)
{
    static int journal = -2;
    static char line[LONGEST];
    if (journal == -2) {
        const char *path = getenv("EXTAUTH_TEST_JOURNAL");
        journal = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666) : -1;
    }
    if (journal < 0)
        return;
    int length = snprintf(line, sizeof line, "%.6f %d %s ", now(), (int)getpid(), event);
    for (size_t at = 0; at < size && at < 100; at++)
        length += snprintf(line + length, sizeof line - (size_t)length, "%02x", body[at]);
    line[length++] = '\n';
    if (write(journal, line, (size_t)length) < 0)
        _exit(3);
}

/* Is the user's name behind its last dash one that exists, and the secret, if one is asked for, "pw-" and the user? */
static int truth(const unsigned char *body, size_t size)
{
    static char copy[LONGEST + 1];
    char *field[4] = {"", "", "", ""}, *rest = copy;
    memcpy(copy, body, size);
    copy[size] = '\0';
    for (int number = 0; number < 4 && rest != NULL; number++) {
        field[number] = rest;
        rest = number < 3 ? strchr(rest, ':') : NULL;
        if (rest != NULL)
            *rest++ = '\0';
    }
    const char *dash = strrchr(field[1], '-'), *name = dash ? dash + 1 : field[1];
    if (strncmp(name, "no", 2) == 0)
        return 0;
    if (strcmp(field[0], "auth") == 0)
        return strncmp(field[3], "pw-", 3) == 0 && strcmp(field[3] + 3, field[1]) == 0;
    return strcmp(field[0], "isuser") == 0 || strcmp(field[0], "setpass") == 0;
}

/*
 * A program that now and then replies twice to one question, the second time before it reads on.
 *
 *     twice WORK GAP READ WRITE [early]
 *
 * Works for WORK microseconds on each question.  Says yes if there is "good" in it.  If there is "twice" in it, says the
 * same once more, GAP microseconds later.  READ is how frames are read: whole, header (first, then the rest) or
 * byte (by byte); WRITE is how replies are written: whole or halves.
 * With `early` it says yes to its first question before it has read anything of it.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned char frame[2 + 65535 + 1];

static void read_exactly(size_t from, size_t to, size_t at_once)
{
    while (from < to) {
        ssize_t got = read(0, frame + from, to - from < at_once ? to - from : at_once);
        if (got <= 0)
            exit(0);
        from += (size_t)got;
    }
}

/* Reads one frame; the bridge has never more than one in the pipe, and that in one piece. */
static const char *question(const char *how)
{
    size_t have = 2, at_once = *how == 'b' ? 1 : sizeof frame, size;
    if (*how == 'w') {
        ssize_t got = read(0, frame, sizeof frame - 1);
        if (got < 2)
            exit(0);
        have = (size_t)got;
    } else {
        read_exactly(0, 2, at_once);
    }
    size = 2 + ((size_t)frame[0] << 8 | frame[1]);
    read_exactly(have, size, at_once);
    frame[size] = '\0';
    return (const char *)frame + 2;
}

/* Keeps the CPU: a sleep takes 50 microseconds at least. */
static void work(long microseconds)
{
    struct timespec from, now;
    clock_gettime(CLOCK_MONOTONIC, &from);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while ((now.tv_sec - from.tv_sec) * 1000000 + (now.tv_nsec - from.tv_nsec) / 1000 < microseconds);
}

static void reply(int yes, const char *how)
{
    unsigned char reply[4] = {0, 2, 0, (unsigned char)yes};
    size_t first = *how == 'h' ? 2 : 4;
    if (write(1, reply, first) != (ssize_t)first || write(1, reply + first, 4 - first) != (ssize_t)(4 - first))
        exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    if (argc > 5) {
        struct pollfd in = {0, POLLIN, 0};
        poll(&in, 1, -1);
        reply(1, argv[4]);
    }
    for (;;) {
        const char *asked = question(argv[3]);
        work(atol(argv[1]));
        reply(strstr(asked, "good") != NULL, argv[4]);
        if (strstr(asked, "twice") != NULL) {
            work(atol(argv[2]));
            reply(strstr(asked, "good") != NULL, argv[4]);
        }
    }
}

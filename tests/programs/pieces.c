/* An honest program that reads and writes in pieces: `pieces READ WRITE PAUSE_US`.

   READ: exactly (header, then body), bytes (one at a time), greedy (as much as is there), waits (poll, FIONREAD, then that
   much), vectors (readv into many small ones), splice (through a pipe of its own), nonblock (O_NONBLOCK and poll),
   leaves (one question, then gone), closes (the same, stdin closed before the reply).
   WRITE: how many writes a reply takes, 1, 2 or 4; PAUSE_US between reads of a piece and writes of one. */
#include "frames.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

static const char *way;
static long pause_us;
static int detour[2];

static int is(const char *name)
{
    return strcmp(way, name) == 0;
}

static void wait_for_input(void)
{
    struct pollfd input = {0, POLLIN, 0};
    poll(&input, 1, -1);
}

/* One piece of a frame of which `wanted` bytes are missing, and behind which nothing can be. */
static ssize_t piece(unsigned char *into, size_t wanted)
{
    if (is("bytes"))
        return read(0, into, 1);
    if (is("greedy"))
        return read(0, into, LONGEST / 2); /* more than the longest frame */
    if (is("vectors")) {
        struct iovec small[8];
        int used = 0;
        for (size_t at = 0; at < wanted && used < 8; at += 7, used++)
            small[used] = (struct iovec){into + at, wanted - at < 7 ? wanted - at : 7};
        return readv(0, small, used);
    }
    if (is("splice")) {
        ssize_t moved = splice(0, NULL, detour[1], NULL, LONGEST, 0);
        return moved <= 0 ? moved : read(detour[0], into, (size_t)moved);
    }
    if (is("waits")) {
        int there = 0;
        wait_for_input();
        ioctl(0, FIONREAD, &there);
        return read(0, into, there > 0 ? (size_t)there : 1);
    }
    if (is("nonblock")) {
        ssize_t got;
        while ((got = read(0, into, wanted)) < 0 && errno == EAGAIN)
            wait_for_input();
        return got;
    }
    return read(0, into, wanted);
}

static void reply(const unsigned char *data, size_t pieces)
{
    for (size_t at = 0; at < 4; at += 4 / pieces) {
        if (at > 0)
            work(pause_us);
        put(data + at, 4 / pieces);
    }
}

int main(int count, char **words)
{
    static unsigned char frame[LONGEST];
    size_t there = 0, size = 0;
    if (count != 4)
        return 2;
    way = words[1];
    pause_us = atol(words[3]);
    note("start", NULL, 0);
    if (is("nonblock"))
        fcntl(0, F_SETFL, O_NONBLOCK);
    if (is("splice") && pipe(detour) != 0)
        return 2;
    for (;;) {
        ssize_t got = piece(frame + there, there < 2 ? 2 - there : size - there);
        if (got <= 0)
            return 0;
        there += (size_t)got;
        if (there >= 2)
            size = 2 + ((size_t)frame[0] << 8 | frame[1]);
        if (there < 2 || there < size) {
            work(pause_us);
            continue;
        }
        if (there > size)
            return 3; /* two questions at once */
        if (is("closes"))
            close(0);
        reply(truth(frame + 2, size - 2) ? YES : NO, (size_t)atol(words[2]));
        if (is("closes") || is("leaves"))
            return 0;
        there = 0;
    }
}

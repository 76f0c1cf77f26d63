/* A trivial authentication program in ejabberd's protocol: the cheapest thing a bridge can have behind it.
 *
 *     program [MILLISECONDS]
 *
 * Reads one frame (two bytes of length, big-endian, then the body) at a time and answers true when the body's
 * last byte is odd. The questions end in a pseudo-random digit, so an answer that belongs to another question
 * is wrong every other time: a shift by one cannot stay unseen. MILLISECONDS is how long each answer takes.
 * Exit status: 0 at end of input, 1 when a frame was cut off.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* Reads exactly `size` bytes; false at end of input. */
static bool read_exactly(unsigned char *into, size_t size)
{
    size_t got = 0;
    while (got < size) {
        ssize_t n = read(0, into + got, size - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static void work_for(long milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&time, NULL);
}

int main(int argc, char **argv)
{
    long delay = argc > 1 ? atol(argv[1]) : 0;
    unsigned char head[2];
    static unsigned char body[65535];

    /* Otherwise the kernel may add 50 µs to each sleep, and the ideal rate would be out of reach. */
    prctl(PR_SET_TIMERSLACK, 1UL);

    while (read_exactly(head, sizeof head)) {
        size_t size = (size_t)head[0] << 8 | head[1];
        if (size == 0 || !read_exactly(body, size))
            return 1;
        if (delay > 0)
            work_for(delay);
        unsigned char answer[4] = {0, 2, 0, body[size - 1] & 1};
        if (write(1, answer, sizeof answer) != sizeof answer)
            return 1;
    }
    return 0;
}

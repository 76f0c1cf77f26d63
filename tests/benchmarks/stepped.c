/* Preloaded into the bridge by stepped.py, so that nothing depends on time: at each look at epoll the bridge stands
 * still until everybody outside has done what there is to do, its clock counts how often it is looked at, and its
 * random numbers are none. Valgrind counts only what happens between two looks.
 *
 * STEPPED is "ASKS,ANSWERS,TICK": descriptors to tell where we are and to be told what to do, and nanoseconds.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <valgrind/callgrind.h>

enum { SECOND = 1000000000 };
enum { HURRY = 8 }; /* until told otherwise: what is done every tenth of a second has been done by then */

static int asks = -1, answers, bridge;
static bool steady, counting;
static uint64_t tick, now = 1000ULL * SECOND; /* a computer that has been up for a while */

__attribute__((constructor)) static void begin(void)
{
    const char *given = getenv("STEPPED");
    if (given == NULL || sscanf(given, "%d,%d,%lu", &asks, &answers, &tick) != 3)
        abort();
    bridge = getpid();
}

/* Says what time it is, and returns when we may go on. */
static void stand_still(void)
{
    char told;
    do {
        if (write(asks, &now, sizeof now) != sizeof now || read(answers, &told, 1) != 1)
            _exit(1); /* nobody is left to tell us */
        if (told == 's') {
            steady = true;
        } else if (told == 'c') {
            CALLGRIND_START_INSTRUMENTATION;
            CALLGRIND_ZERO_STATS;
            counting = true;
        } else if (told == 'd') {
            CALLGRIND_DUMP_STATS;
        }
    } while (told != 'g');
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int timeout)
{
    if (getpid() != bridge)
        return (int)syscall(SYS_epoll_wait, epoll, events, most, timeout);
    bool counted = counting;
    if (counted)
        CALLGRIND_TOGGLE_COLLECT;
    stand_still();
    int found = (int)syscall(SYS_epoll_wait, epoll, events, most, timeout < 0 ? timeout : 0);
    if (found == 0 && timeout > 0)
        now += timeout * (uint64_t)(SECOND / 1000); /* nobody would have moved meanwhile */
    if (counted)
        CALLGRIND_TOGGLE_COLLECT;
    return found;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    if (clock != CLOCK_MONOTONIC && clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, time);
    now += steady ? tick : HURRY * tick;
    *time = (struct timespec){(time_t)(now / SECOND), (long)(now % SECOND)};
    return 0;
}

ssize_t getrandom(void *into, size_t size, unsigned flags)
{
    (void)flags;
    memset(into, 0, size);
    return (ssize_t)size;
}

/* Replies twice: `doubles MANNER WORK_US GAP_US`.

   Every question takes WORK_US of work; one whose user begins with "twice" is replied to twice, the second reply GAP_US
   after the first and before the next question is read. The first is right; the second says the same, or what the
   user's first part, "twiceyes" or "twiceno", says. How the second one is written is the manner, below.

   Those of the manners "ahead" and "aheadhalf" say yes GAP_US after their start, unasked; the half's rest comes with
   their first question.

   Journal: `start`; `second` before each pair of replies; `readon` for each question read after such a pair. */
#include "frames.h"

#include <signal.h>

static const char *manner;
static long gap;

static int is(const char *name)
{
    return strcmp(manner, name) == 0;
}

static void take(unsigned char *into, size_t count)
{
    while (count > 0) {
        ssize_t got = read(0, into, count);
        if (got <= 0)
            _exit(0);
        into += got;
        count -= (size_t)got;
    }
}

static void twice(const unsigned char *first, const unsigned char *second)
{
    if (is("together")) { /* one write */
        unsigned char both[8];
        memcpy(both, first, 4);
        memcpy(both + 4, second, 4);
        put(both, 8);
        return;
    }
    put(first, 4);
    if (is("deaf")) /* takes no more questions, but talks on */
        close(0);
    work(gap);
    if (is("halves") || is("straddle")) { /* the rest of a straddling one comes when the next question has been read */
        put(second, 2);
        if (is("straddle"))
            return;
        work(gap);
        put(second + 2, 2);
        return;
    }
    put(second, 4);
    if (is("flood")) /* to the brim of the pipe and beyond */
        for (int number = 0; number < 20000; number++)
            put(second, 4);
    if (is("deaf")) {
        work(gap);
        _exit(0);
    }
}

int main(int count, char **words)
{
    static unsigned char body[LONGEST];
    unsigned char header[2];
    const unsigned char *owed = NULL;
    int doubled = 0;
    if (count != 4)
        return 2;
    manner = words[1];
    gap = atol(words[3]);
    signal(SIGPIPE, SIG_IGN);
    note("start", NULL, 0);
    if (strncmp(manner, "ahead", 5) == 0)
        work(gap);
    if (is("ahead"))
        put(YES, 4);
    if (is("aheadhalf")) {
        put(YES, 2);
        owed = YES + 2;
    }
    for (;;) {
        take(header, 2);
        size_t size = (size_t)header[0] << 8 | header[1];
        take(body, size);
        body[size] = '\0';
        if (doubled)
            note("readon", body, size);
        if (owed != NULL) {
            put(owed, 2);
            owed = NULL;
        }
        const unsigned char *user = (unsigned char *)strchr((char *)body, ':') + 1;
        const unsigned char *reply = truth(body, size) ? YES : NO;
        if (strncmp((const char *)user, "twice", 5) != 0) {
            work(atol(words[2]));
            put(reply, 4);
            continue;
        }
        const unsigned char *second = reply;
        if (strncmp((const char *)user, "twiceyes", 8) == 0)
            second = YES;
        else if (strncmp((const char *)user, "twiceno", 7) == 0)
            second = NO;
        note("second", body, size);
        doubled = 1;
        work(atol(words[2]));
        twice(reply, second);
        if (is("straddle"))
            owed = second + 2;
    }
}

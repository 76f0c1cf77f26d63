/* An authentication program in ejabberd's protocol that knows every account there will ever be, and misbehaves if asked
 * to: the truth about account u<N> is in its number (truth.py says the same), so that millions of accounts need no table.
 *
 *     program NAME [lie]
 *
 * NAME means nothing: a configuration with another one has other programs. `lie`: every hundredth answer is wrong.
 * A secret that begins with `!` and a letter asks for what the switch below says. Exit status: 0 at end of input.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Reads exactly `size` bytes; false at end of input. */
static bool read_exactly(char *into, size_t size)
{
    for (size_t got = 0; got < size;) {
        ssize_t n = read(0, into + got, size - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    return true;
}

static void put(int descriptor, const char *data, size_t size)
{
    if (write(descriptor, data, size) != (ssize_t)size)
        _exit(1);
}

static void answer(bool granted)
{
    char reply[4] = {0, 2, 0, (char)granted};
    put(1, reply, sizeof reply);
}

static void wait_milliseconds(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

/* Does what the letter says; `granted` is what an honest program would answer. */
static void misbehave(char letter, const char *user, bool granted)
{
    static char flood[1 << 16];
    switch (letter) {
    case 'e': /* ends */
        _exit(1);
    case 'h': /* hangs */
        for (;;)
            pause();
    case 't': /* replies twice in one write */
        put(1, "\0\2\0\0\0\2\0\1", 8);
        return;
    case 'l': /* has a second reply later, maybe with the next question in the pipe */
        answer(false);
        wait_milliseconds(5);
        answer(true);
        return;
    case 'g': /* says what is no reply */
        put(1, "hello", 5);
        return;
    case 'p': /* ends amid a reply */
        put(1, "\0\2\0", 3);
        _exit(1);
    case 'f': /* floods stderr */
        memset(flood, 'x', sizeof flood);
        for (int i = 0; i < 64; i++)
            put(2, flood, sizeof flood);
        break;
    case 'k': /* leaves a child that keeps the pipes open */
        if (fork() > 0)
            _exit(1);
        for (;;)
            pause();
    case 's': /* takes its time */
        wait_milliseconds(700);
        break;
    case 'c': /* has something to say of everybody */
        dprintf(2, "warning: no group for %s, which is odd\n", user);
        break;
    }
    answer(granted);
}

int main(int argc, char **argv)
{
    bool lies = argc > 2 && strcmp(argv[2], "lie") == 0;
    unsigned count = 0;
    static char body[65536];
    char head[2];

    while (read_exactly(head, sizeof head)) {
        size_t size = (size_t)(unsigned char)head[0] << 8 | (unsigned char)head[1];
        if (size == 0 || !read_exactly(body, size))
            return 1;
        body[size] = 0;
        char *rest = body, *command = strsep(&rest, ":"), *user = strsep(&rest, ":");
        strsep(&rest, ":"); /* the host */
        if (user == NULL || *user == 0)
            return 1;
        uint32_t mixed = (uint32_t)(strtoull(user + 1, NULL, 10) * 2654435761U);
        bool granted = *command == 'a'   ? rest != NULL && strtoull(rest, NULL, 10) == mixed
                       : *command == 'i' ? mixed >> 17 & 1
                                         : mixed >> 18 & 1;
        if (*command == 'a' && rest != NULL && *rest == '!')
            misbehave(rest[1], user, mixed >> 19 & 1);
        else
            answer(granted ^ (lies && ++count % 100 == 0));
    }
    return 0;
}

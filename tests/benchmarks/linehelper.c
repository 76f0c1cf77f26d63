/* program.c for peers whose helpers speak lines: answers `1` when the line's last byte is odd, else `0`.
 *
 *     linehelper
 *
 * One question at a time, as squid asks a helper without channel numbers. Lines up to 4095 bytes.
 * Exit status: 0 at end of input, 1 when a line was too long or the answer was not taken.
 */
#include <string.h>
#include <unistd.h>

/* Answers the whole lines at the start of `bytes`; how many bytes they were, or -1. */
static ssize_t answer_lines(const char *bytes, size_t size)
{
    const char *line = bytes, *end;
    while ((end = memchr(line, '\n', size - (size_t)(line - bytes))) != NULL) {
        const char *answer = end > line && (end[-1] & 1) ? "1\n" : "0\n";
        if (write(1, answer, 2) != 2)
            return -1;
        line = end + 1;
    }
    return line - bytes;
}

int main(void)
{
    static char bytes[4096];
    size_t size = 0;

    for (;;) {
        ssize_t got = read(0, bytes + size, sizeof bytes - size);
        if (got <= 0)
            return size > 0;
        size += (size_t)got;
        ssize_t used = answer_lines(bytes, size);
        if (used < 0 || (used == 0 && size == sizeof bytes))
            return 1;
        size -= (size_t)used;
        memmove(bytes, bytes + used, size);
    }
}

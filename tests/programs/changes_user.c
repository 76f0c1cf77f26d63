/* Has changed its user for good: installed set-user-ID, nobody but root and its owner may kill it.

   It says yes to everything; a question whose user begins with "hang" is never replied to, nor end of input heeded. */
#include <string.h>
#include <unistd.h>

int main(void)
{
    char frame[65537]; /* it comes in one write */
    ssize_t size;
    if (setresuid(geteuid(), geteuid(), geteuid()))
        return 2;
    while ((size = read(0, frame, sizeof frame - 1)) > 2) {
        frame[size] = '\0';
        while (strncmp(strchr(frame + 2, ':') + 1, "hang", 4) == 0)
            pause();
        if (write(1, "\0\2\0\1", 4) != 4)
            return 3;
    }
    return 0;
}

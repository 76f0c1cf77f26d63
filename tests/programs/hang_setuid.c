/* Hangs as another user: to be owned by one and to have the setuid bit, so that whoever started it may not end it. */
#include <unistd.h>

int main(void)
{
    uid_t owner = geteuid();
    if (setresuid(owner, owner, owner) != 0)
        return 1;
    for (;;)
        pause();
}

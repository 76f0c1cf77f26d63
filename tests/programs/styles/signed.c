/* Keeps the length in plain chars, which are signed on most machines: 128 to 255 are negative. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int isuser(const char *user)
{
    const char *dash = strrchr(user, '-');
    return strncmp(dash ? dash + 1 : user, "no", 2) != 0;
}

static int auth(const char *user, const char *password)
{
    return isuser(user) && strncmp(password, "pw-", 3) == 0 && strcmp(password + 3, user) == 0;
}

int main(void)
{
    char buf[65536], header[2];
    while (fread(header, 1, 2, stdin) == 2) {
        int len = (header[0] << 8) + header[1];
        if (len < 0 || fread(buf, 1, len, stdin) != (size_t)len)
            exit(1);
        buf[len] = '\0';

        char *rest = buf, *command = strsep(&rest, ":"), *user = strsep(&rest, ":");
        strsep(&rest, ":");
        char reply[4] = {0, 2, 0, 0};
        if (strcmp(command, "auth") == 0)
            reply[3] = (char)auth(user, rest);
        else if (strcmp(command, "isuser") == 0 || strcmp(command, "setpass") == 0)
            reply[3] = (char)isuser(user);
        fwrite(reply, 1, 4, stdout);
        fflush(stdout);
    }
    return 0;
}

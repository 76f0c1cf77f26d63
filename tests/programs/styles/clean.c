/* A well-behaved ejabberd program that costs next to nothing, for long loads; the truth table is that of wire.py. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int read_exactly(unsigned char *into, size_t count)
{
    while (count > 0) {
        ssize_t got = read(0, into, count);
        if (got <= 0)
            return 0;
        into += got;
        count -= (size_t)got;
    }
    return 1;
}

/* Cuts the field that begins at *rest off at its colon, and moves *rest behind it. */
static char *field(char **rest)
{
    char *start = *rest, *colon = strchr(start, ':');
    if (colon == NULL) {
        *rest = start + strlen(start);
    } else {
        *colon = '\0';
        *rest = colon + 1;
    }
    return start;
}

static int truth(char *rest)
{
    char *command = field(&rest), *user = field(&rest);
    field(&rest);
    char *dash = strrchr(user, '-'), *name = dash ? dash + 1 : user;
    if (strncmp(name, "no", 2) == 0)
        return 0;
    if (strcmp(command, "auth") == 0)
        return strncmp(rest, "pw-", 3) == 0 && strcmp(rest + 3, user) == 0;
    return strcmp(command, "isuser") == 0 || strcmp(command, "setpass") == 0;
}

int main(void)
{
    static unsigned char body[65536];
    unsigned char header[2], reply[4] = {0, 2, 0, 0};
    while (read_exactly(header, 2)) {
        size_t size = (size_t)header[0] << 8 | header[1];
        if (!read_exactly(body, size))
            break;
        body[size] = '\0';
        reply[3] = (unsigned char)truth((char *)body);
        if (write(1, reply, 4) != 4)
            break;
    }
    return 0;
}

/* Opens the list of blocked users for each question, and forgets to close it where it returns early. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *blocked;

static int is_blocked(const char *user)
{
    char line[256];
    FILE *file = fopen(blocked, "r");
    if (file == NULL)
        return 1;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, user) == 0)
            return 1;
        if (line[0] == '\0')
            return 0;
    }
    fclose(file);
    return 0;
}

static int isuser(const char *user)
{
    const char *dash = strrchr(user, '-');
    return strncmp(dash ? dash + 1 : user, "no", 2) != 0 && !is_blocked(user);
}

static int read_all(void *into, size_t count)
{
    char *at = into;
    for (ssize_t got; count > 0; at += got, count -= (size_t)got)
        if ((got = read(0, at, count)) <= 0)
            return 0;
    return 1;
}

int main(int argc, char **argv)
{
    static char data[65536];
    unsigned char head[2];
    if (argc != 2)
        return 2;
    blocked = argv[1];
    while (read_all(head, 2)) {
        size_t len = (size_t)head[0] << 8 | head[1];
        if (!read_all(data, len))
            return 1;
        data[len] = '\0';
        char *rest = data, *command = strsep(&rest, ":"), *user = strsep(&rest, ":"), reply[4] = {0, 2, 0, 0};
        strsep(&rest, ":");
        if (strcmp(command, "auth") == 0)
            reply[3] = (char)(isuser(user) && strncmp(rest, "pw-", 3) == 0 && strcmp(rest + 3, user) == 0);
        else if (strcmp(command, "isuser") == 0 || strcmp(command, "setpass") == 0)
            reply[3] = (char)isuser(user);
        if (write(1, reply, 4) != 4)
            return 1;
    }
    return 0;
}

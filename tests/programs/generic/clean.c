/* A program for Prosody in C; the truth table is that of wire.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    char *line = NULL;
    size_t size = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (getline(&line, &size, stdin) > 0) {
        line[strcspn(line, "\n")] = '\0';
        puts(truth(line) ? "1" : "0");
    }
    return 0;
}

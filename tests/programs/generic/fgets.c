/* fgets into 256 bytes: a longer line is two questions to it, and gets two answers. */
#include <stdio.h>
#include <string.h>

int main(void)
{
    char line[256];
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *user = strchr(line, ':'), *secret = NULL;
        line[strcspn(line, "\n")] = '\0';
        if (user == NULL) {
            puts("0");
            continue;
        }
        char *end = strchr(++user, ':');
        if (end != NULL) {
            *end = '\0';
            secret = strchr(end + 1, ':');
        }
        char *dash = strrchr(user, '-'), *name = dash ? dash + 1 : user;
        int known = strncmp(name, "no", 2) != 0;
        if (strncmp(line, "auth:", 5) == 0)
            known = known && secret != NULL && strncmp(secret + 1, "pw-", 3) == 0 && strcmp(secret + 4, user) == 0;
        else if (strncmp(line, "isuser:", 7) != 0 && strncmp(line, "setpass:", 8) != 0)
            known = 0;
        puts(known ? "1" : "0");
    }
    return 0;
}

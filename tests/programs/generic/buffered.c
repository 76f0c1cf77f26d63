/* printf to a pipe, without fflush: its answers wait in a buffer. */
#include <stdio.h>
#include <string.h>

int main(void)
{
    char line[4096];
    while (fgets(line, sizeof line, stdin) != NULL)
        printf("%d\n", strncmp(line, "isuser:", 7) == 0);
    return 0;
}

/* What a process has used so far, as the kernel counts it. */
#include "load.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The number behind `key` in a file of /proc, 0 if it cannot be had. */
static unsigned long number_in(const char *path, const char *key)
{
    char line[256];
    unsigned long number = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            number = strtoul(line + strlen(key), NULL, 10);
    fclose(file);
    return number;
}

/* VmRSS is kept per CPU and only now and then added up, up to 32 pages a CPU behind: too coarse for memory per
 * question. smaps_rollup counts the pages; it may be kept from us, then VmRSS has to do. */
unsigned long resident_kb(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    unsigned long counted = number_in(path, "Rss:");
    if (counted > 0)
        return counted;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    return number_in(path, "VmRSS:");
}

/* User and system time of all its threads, exact where /proc/PID/stat has hundredths of a second. */
uint64_t cpu_ns(pid_t pid)
{
    clockid_t clock;
    struct timespec time;
    if (pid <= 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0)
        return 0;
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

unsigned long sleeps(pid_t pid)
{
    char path[320];
    unsigned long count = 0;
    struct dirent *thread;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return 0;
    while ((thread = readdir(threads)) != NULL) {
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, thread->d_name);
        count += number_in(path, "voluntary_ctxt_switches:");
    }
    closedir(threads);
    return count;
}

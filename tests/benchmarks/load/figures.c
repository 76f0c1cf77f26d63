/* What is counted, timed and printed.
 *
 * Two phases: the warm-up, whose answers do not count, and the measurement. The rate is the answers of the
 * measurement by its time; a latency is the time from the write that sent a question to the read that brought
 * its answer. The command's CPU time is that of its own process, its programs not included.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_TIMES = 1 << 22 }; /* 16 MB; what comes after them is counted but not timed */

struct times {
    uint32_t *all;
    size_t count;
};

static struct plan plan;
static pid_t command;
static unsigned long answers;           /* all of them, warm-up included */
static unsigned long counted;           /* those of the measurement */
static uint64_t started, ended;         /* of the measurement, 0 = not yet */
static uint64_t cpu_before, cpu;
static struct times latencies, delays;
static unsigned long resident;
static double rest_cpu, rest_sleeps;

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void start(uint64_t now)
{
    started = now;
    cpu_before = cpu_ns(command);
}

void measure(const struct plan *wanted, pid_t pid)
{
    plan = *wanted;
    command = pid;
    latencies.all = malloc(MOST_TIMES * sizeof *latencies.all);
    delays.all = malloc(MOST_TIMES * sizeof *delays.all);
    if (latencies.all == NULL || delays.all == NULL)
        fail("no memory for the latencies");
    if (plan.warm_up == 0)
        start(now_ns());
}

bool measure_answers(unsigned long count, uint64_t now)
{
    answers += count;
    if (ended != 0)
        return true;
    if (started == 0) {
        if (answers >= plan.warm_up)
            start(now);
        return false;
    }
    counted += count;
    if (plan.lines > 0 ? counted >= plan.lines : now - started >= (uint64_t)(plan.seconds * 1e9)) {
        ended = now;
        cpu = cpu_ns(command) - cpu_before;
    }
    return ended != 0;
}

static void note(struct times *times, uint64_t nanoseconds)
{
    if (started != 0 && ended == 0 && times->count < MOST_TIMES)
        times->all[times->count++] = nanoseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)nanoseconds;
}

void measure_latency(uint64_t nanoseconds)
{
    note(&latencies, nanoseconds);
}

void measure_delay(uint64_t nanoseconds)
{
    note(&delays, nanoseconds);
}

static void wait_for(double seconds)
{
    struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&time, NULL);
}

/* Half a second comes before it: what the command still had to do is not what it does for ever. */
void measure_rest(void)
{
    resident = resident_kb(command);
    if (plan.rest <= 0)
        return;
    wait_for(0.5);
    uint64_t began = now_ns(), cpu_then = cpu_ns(command);
    unsigned long sleeps_then = sleeps(command);
    wait_for(plan.rest);
    uint64_t taken = now_ns() - began; /* more than planned where the machine is busy */
    rest_cpu = (double)(cpu_ns(command) - cpu_then) / (double)taken;
    rest_sleeps = (double)(sleeps(command) - sleeps_then) / ((double)taken / 1e9);
    if (cpu_then == 0)
        fail("the command's CPU time cannot be known");
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* The time in µs that `share` of all stayed below. */
static double percentile(const struct times *times, double share)
{
    return times->count == 0 ? 0 : times->all[(size_t)(share * (double)(times->count - 1))] / 1e3;
}

void print_figures(void)
{
    double seconds = (double)(ended - started) / 1e9;
    qsort(latencies.all, latencies.count, sizeof *latencies.all, by_size);
    qsort(delays.all, delays.count, sizeof *delays.all, by_size);
    printf("{\"lines\": %lu, \"checked\": %lu, \"seconds\": %.6f, \"rate\": %.1f, ",
           counted, answers, seconds, (double)counted / seconds);
    printf("\"bytes_s\": %.0f, ", (double)counted * (double)question_size / seconds);
    printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, \"late_p99_us\": %.2f, ",
           percentile(&latencies, 0.50), percentile(&latencies, 0.99), percentile(&latencies, 1),
           percentile(&delays, 0.99));
    printf("\"cpu_us\": %.3f, \"rss_kb\": %lu", (double)cpu / 1e3 / (double)counted, resident);
    if (plan.rest > 0)
        printf(", \"rest_cpu\": %.6f, \"rest_wakeups\": %.2f", rest_cpu, rest_sleeps);
    printf("}\n");
}

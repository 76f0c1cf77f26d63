/* What is counted, timed and printed.
 *
 * Two phases: the warm-up, whose answers do not count, and the measurement. The rate is the answers of the
 * measurement by its time; a latency is the time from the write that sent a question to the read that brought
 * its answer.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { MOST_LATENCIES = 1 << 22 }; /* 16 MB; what comes after them is counted but not timed */

static struct plan plan;
static unsigned long answers;           /* all of them, warm-up included */
static unsigned long counted;           /* those of the measurement */
static uint64_t started, ended;         /* of the measurement, 0 = not yet */
static uint32_t *latencies;
static size_t latency_count;

uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

void measure(const struct plan *wanted)
{
    plan = *wanted;
    latencies = malloc(MOST_LATENCIES * sizeof *latencies);
    if (latencies == NULL)
        fail("no memory for the latencies");
    if (plan.warm_up == 0)
        started = now_ns();
}

bool measure_answers(unsigned long count, uint64_t now)
{
    answers += count;
    if (ended != 0)
        return true;
    if (started == 0) {
        if (answers >= plan.warm_up)
            started = now;
        return false;
    }
    counted += count;
    if (plan.lines > 0 ? counted >= plan.lines : now - started >= (uint64_t)(plan.seconds * 1e9))
        ended = now;
    return ended != 0;
}

void measure_latency(uint64_t nanoseconds)
{
    if (started != 0 && ended == 0 && latency_count < MOST_LATENCIES)
        latencies[latency_count++] = nanoseconds > UINT32_MAX ? UINT32_MAX : (uint32_t)nanoseconds;
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

/* The latency in µs that `share` of all stayed below. */
static double percentile(double share)
{
    return latency_count == 0 ? 0 : latencies[(size_t)(share * (double)(latency_count - 1))] / 1e3;
}

void print_figures(unsigned long resident)
{
    double seconds = (double)(ended - started) / 1e9;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"lines\": %lu, \"checked\": %lu, \"seconds\": %.6f, \"rate\": %.1f, ",
           counted, answers, seconds, (double)counted / seconds);
    printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f, \"rss_kb\": %lu}\n",
           percentile(0.50), percentile(0.99), percentile(1), resident);
}

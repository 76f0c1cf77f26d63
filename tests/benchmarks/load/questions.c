/* What is asked, and what is true.
 *
 * Every question ends in a pseudo-random hexadecimal digit; the answer is true when that byte is odd (program.c
 * has the same rule). Answers one place off are wrong half of the time. All questions are of one size and lie
 * behind each other in a table, so any number of them goes out in a single write without being put together
 * first: the load generator must never be what is measured.
 */
#include "load.h"

#include <stdio.h>
#include <string.h>

enum { QUESTIONS = 4096 };

#define LINE "auth:u%05u:example.com:%016llx\n"
enum { LINE_SIZE = sizeof "auth:u00000:example.com:0123456789abcdef\n" - 1, HEAD_SIZE = 2 };

size_t question_size, answer_size;

/* The first questions once more at the end: a batch that begins near the end needs no second write. */
static char table[(QUESTIONS + MOST_IN_FLIGHT) * (HEAD_SIZE + LINE_SIZE) + 1];
static bool truth[QUESTIONS];
static bool in_frames;

/* Marsaglia's xorshift64: the same questions in every run. */
static unsigned long long next_secret(void)
{
    static unsigned long long state = 88172645463325252ULL;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

void ask_lines(void)
{
    in_frames = false;
    question_size = LINE_SIZE;
    answer_size = sizeof "1\n" - 1;
    for (unsigned i = 0; i < QUESTIONS; i++) {
        char *line = table + i * question_size;
        snprintf(line, LINE_SIZE + 1, LINE, i, next_secret());
        truth[i] = line[LINE_SIZE - 2] & 1;
    }
    memcpy(table + QUESTIONS * question_size, table, MOST_IN_FLIGHT * question_size);
}

void ask_frames(void)
{
    ask_lines();
    in_frames = true;
    question_size = HEAD_SIZE + LINE_SIZE - 1;
    answer_size = 4;
    for (unsigned i = QUESTIONS + MOST_IN_FLIGHT; i-- > 0;) { /* backwards: a frame is longer than its line */
        char *frame = table + i * question_size;
        memmove(frame + HEAD_SIZE, table + i * LINE_SIZE, LINE_SIZE - 1);
        frame[0] = 0;
        frame[1] = LINE_SIZE - 1;
    }
}

const char *questions(unsigned long number)
{
    return table + number % QUESTIONS * question_size;
}

void check_answer(unsigned long number, const char *answer)
{
    bool is = truth[number % QUESTIONS];
    const char *right = in_frames ? (is ? "\0\2\0\1" : "\0\2\0\0") : (is ? "1\n" : "0\n");
    if (memcmp(answer, right, answer_size) != 0)
        fail("the answer to question %lu is wrong", number);
}

/* What is asked, and what is true.
 *
 * Every question ends in a pseudo-random hexadecimal digit; the answer is true when that byte is odd (program.c
 * has the same rule). Answers one place off are wrong half of the time. All questions are of one size and lie
 * behind each other in a table, so any number of them goes out in a single write without being put together
 * first: the load generator must never be what is measured.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QUESTIONS = 4096, ALL = QUESTIONS + MOST_IN_FLIGHT };
enum { DIGITS = 16 }; /* of the secret: the whole of it in a line of the usual length, 40 */

size_t question_size, answer_size;

/* The first questions once more at the end: a batch that begins near the end needs no second write. */
static char *table;
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

/* `length` bytes without an end: a short line has a short host and fewer digits, a long one is filled up. */
static void write_question(char *into, unsigned number, unsigned length)
{
    char digits[DIGITS + 1];
    const char *host = length < 40 ? "h" : "example.com";
    size_t start = (size_t)sprintf(into, "auth:u%05u:%s:", number, host);
    size_t room = length - start, shown = room < DIGITS ? room : DIGITS;
    snprintf(digits, sizeof digits, "%016llx", next_secret());
    memset(into + start, 'x', room - shown);
    memcpy(into + length - shown, digits + DIGITS - shown, shown);
}

/* Every question between `head` bytes of length and, where `ends`, the end of a line. */
static void make_table(unsigned length, size_t head, bool ends)
{
    question_size = head + length + ends;
    table = malloc(ALL * question_size + LONGEST_LINE); /* sprintf's NUL lies behind a short last one */
    if (table == NULL)
        fail("no memory for the questions");
    for (unsigned i = 0; i < QUESTIONS; i++) {
        char *question = table + i * question_size;
        write_question(question + head, i, length);
        if (head > 0) {
            question[0] = (char)(length >> 8);
            question[1] = (char)length;
        }
        truth[i] = question[head + length - 1] & 1;
        if (ends)
            question[head + length] = '\n';
    }
    memcpy(table + QUESTIONS * question_size, table, MOST_IN_FLIGHT * question_size);
}

void ask_lines(unsigned length)
{
    in_frames = false;
    answer_size = sizeof "1\n" - 1;
    make_table(length, 0, true);
}

void ask_frames(unsigned length)
{
    in_frames = true;
    answer_size = 4;
    make_table(length, 2, false);
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

/* What these programs have in common. Every program takes
 *   --seed N  --second MS  --seconds N  [--honest]
 * where a second of the program takes MS milliseconds, and ends after N of its seconds. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CODE __attribute__((noinline, noclone))
#define MIB (1ul << 20)

static long seconds = 60, second_ms = 1000;
static int honest;
static uint64_t state = 1;

/* From 0 to `below` - 1. */
static uint64_t draw(uint64_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (state >> 33) % below;
}

/* Sleeps for a part of a program's second, in thousandths. */
static void pass(long thousandths) {
    long ns = second_ms * thousandths * 1000;
    struct timespec rest = {ns / 1000000000, ns % 1000000000};
    nanosleep(&rest, NULL);
}

static void take_arguments(int count, char **arguments) {
    for (int at = 1; at < count; at++) {
        if (!strcmp(arguments[at], "--honest"))
            honest = 1;
        else if (at + 1 < count && !strcmp(arguments[at], "--seed"))
            state = strtoull(arguments[++at], NULL, 10);
        else if (at + 1 < count && !strcmp(arguments[at], "--second"))
            second_ms = atol(arguments[++at]);
        else if (at + 1 < count && !strcmp(arguments[at], "--seconds"))
            seconds = atol(arguments[++at]);
        else {
            fprintf(stderr, "%s?\n", arguments[at]);
            exit(2);
        }
    }
    draw(2);
}

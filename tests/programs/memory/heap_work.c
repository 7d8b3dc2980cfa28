/* Work that allocates 200 000 times in a second of processor time, a turn of it for each line that comes in.
 * `hold N`: N blocks are taken first, and kept. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CODE __attribute__((noinline, noclone))

enum { IN_USE = 4096, ALLOCATIONS = 200000, STEPS = 2600 };
static void *live[IN_USE];
static uint64_t state = 1;

static double processor_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

CODE static uint64_t think(uint64_t dice) {
    for (int step = 0; step < STEPS; step++) {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
    }
    return dice;
}

CODE static void *new_text(size_t bytes) {
    return malloc(bytes);
}

int main(int count, char **arguments) {
    static void **held;
    long blocks = count > 2 && !strcmp(arguments[1], "hold") ? atol(arguments[2]) : 0;
    char line[64];
    puts("ready");
    fflush(stdout);
    for (int turn = 0; fgets(line, sizeof line, stdin); turn++) {
        if (blocks && !held) {
            held = malloc(blocks * sizeof *held);
            for (long at = 0; at < blocks; at++)
                held[at] = memset(new_text(64), 1, 64);
        }
        double before = processor_time();
        for (int at = 0; at < ALLOCATIONS; at++) {
            state = think(state);
            void **place = &live[state % IN_USE];
            free(*place);
            *place = memset(new_text(16 + (state >> 20) % 1024), 1, 16);
        }
        printf("{\"turn\": %d, \"cpu_s\": %.6f}\n", turn, processor_time() - before);
        fflush(stdout);
    }
    return 0;
}

/* The host's heap as a busy server uses it: threads that allocate and free all the time. */
#include "program.h"
#include <pthread.h>

#define THREADS 2
#define IN_USE 512

static volatile int over;
/* Allocations a second and thread, in bursts of a thousandth second. */
static long traffic_rate = 100000;

CODE static void *scratch(size_t bytes) {
    return malloc(bytes);
}

static void *make_traffic(void *seed) {
    void *live[IN_USE] = {0};
    uint64_t dice = (uintptr_t)seed;
    while (!over) {
        for (long count = traffic_rate / 1000; count; count--) {
            dice = dice * 6364136223846793005u + 1442695040888963407u;
            size_t at = (dice >> 33) % IN_USE;
            free(live[at]);
            live[at] = scratch(16 + (dice >> 20) % 1024);
        }
        struct timespec rest = {0, 1000000};
        nanosleep(&rest, NULL);
    }
    for (size_t at = 0; at < IN_USE; at++)
        free(live[at]);
    return NULL;
}

static pthread_t threads[THREADS];

static void begin(int count, char **arguments) {
    take_arguments(count, arguments);
    for (uintptr_t at = 0; at < THREADS; at++)
        if (pthread_create(&threads[at], NULL, make_traffic, (void *)(at + state)))
            exit(1);
}

static void end(void) {
    over = 1;
    for (int at = 0; at < THREADS; at++)
        pthread_join(threads[at], NULL);
}

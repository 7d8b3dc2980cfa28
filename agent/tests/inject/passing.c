/* Threads that wait for an instant and end: each begins its successor first. The first one waits for lines, and prints
 * a line of counts for each: threads, errors. Ends with its input. */
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum { CHAINS = 8 };
static _Atomic long begun, errors;

static void *pass(void *unused) {
    pthread_t next;
    begun++;
    if (pthread_create(&next, NULL, pass, NULL) || pthread_detach(next))
        errors++;
    poll(NULL, 0, 1);
    return NULL;
}

int main(void) {
    char character;
    for (int chain = 0; chain < CHAINS; chain++) {
        pthread_t first;
        if (pthread_create(&first, NULL, pass, NULL) || pthread_detach(first))
            errors++;
    }
    while (read(0, &character, 1) == 1)
        if (character == '\n') {
            printf("%ld %ld\n", (long)begun, (long)errors);
            fflush(stdout);
        }
    _exit(0);
}

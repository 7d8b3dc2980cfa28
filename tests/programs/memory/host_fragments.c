/* Each second a thread that fills a heap of its own, empties it again but for the last block, and stays: what is free there
 * nobody else uses. Honest: the threads end, and the next one has the heap of the last. */
#include "program.h"
#include <malloc.h>
#include <pthread.h>

enum { BLOCKS = 1024 };

CODE static void *new_block(void) {
    return memset(malloc(1000), 1, 1000);
}

static void *serve(void *nothing) {
    void *blocks[BLOCKS];
    for (int at = 0; at < BLOCKS; at++)
        blocks[at] = new_block();
    for (int at = 0; at < BLOCKS - 1; at++)
        free(blocks[at]);
    while (!honest)
        pass(1000000);
    free(blocks[BLOCKS - 1]);
    return nothing;
}

int main(int count, char **arguments) {
    take_arguments(count, arguments);
    mallopt(M_ARENA_MAX, 1000);
    for (long turn = 0; turn < seconds; turn++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL))
            return 1;
        pthread_detach(thread);
        pass(900 + draw(200));
    }
    return 0;
}

/* A server that forks its worker, which is another one every 10 seconds. Leaking: the workers' parent keeps the answer of
 * each request. Honest: it keeps the last hundred. */
#include "heap.h"
#include <sys/wait.h>
#include <unistd.h>

enum { KEPT = 100 };
static void *answers[KEPT];
static unsigned long kept;

CODE static void *new_answer(void) {
    return memset(malloc(1000), 1, 1000);
}

CODE static void keep_answer(void) {
    void **place = &answers[kept++ % KEPT];
    if (honest)
        free(*place);
    *place = new_answer();
}

/* A child has one thread, which allocates as its parent's do. */
static void work(void) {
    for (int turn = 0; turn < 10000; turn++) {
        free(scratch(100 + draw(1000)));
        pass(1);
    }
    _exit(0);
}

int main(int count, char **arguments) {
    begin(count, arguments);
    for (long turn = 0; turn < seconds * 100; turn++) {
        if (turn % 1000 == 0) {
            while (waitpid(-1, NULL, WNOHANG) > 0)
                ;
            if (fork() == 0)
                work();
        }
        for (int at = 0; at < 5; at++)
            keep_answer();
        pass(10);
    }
    end();
    return 0;
}

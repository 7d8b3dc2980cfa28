/* Forks after cuInit, twice over; parent and children launch. */
#include "driver.h"
#include <sys/wait.h>

int main(void) {
    struct driver d;
    driver_open(&d);
    int before = driver_launch(&d);
    for (int child = 0; child < 2; child++) {
        pid_t pid = fork();
        if (pid == 0) {
            /* CUDA must refuse here; what counts is that nothing hangs or crashes. */
            int refused = driver_launch(&d) != 0 && (d.context == NULL || d.synchronize() != 0);
            _exit(refused ? 11 : 12);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    }
    printf("launches %d %d\n", before, driver_launch(&d));
    return 0;
}

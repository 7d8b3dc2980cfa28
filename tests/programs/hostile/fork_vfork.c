/* vfork and exec after cuInit: the child borrows the parent's memory for a moment. */
#define _GNU_SOURCE
#include "driver.h"
#include <sys/wait.h>

int main(void) {
    struct driver d;
    driver_open(&d);
    int before = driver_launch(&d);
    for (int round = 0; round < 20; round++) {
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(9);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (status != 0)
            printf("child status %d\n", status);
    }
    printf("launches %d %d\n", before, driver_launch(&d));
    return 0;
}

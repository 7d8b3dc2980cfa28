/* Children of vfork that take their time: each has its parent's memory until it executes a program. */
#define _GNU_SOURCE
#include "driver.h"
#include <sys/wait.h>

int main(int count, char **arguments) {
    struct driver d;
    driver_open(&d);
    for (int round = count > 1 ? atoi(arguments[1]) : 20; round; round--) {
        driver_launch(&d);
        pid_t pid = vfork();
        if (pid == 0) {
            usleep(100000);
            execl("/bin/true", "true", (char *)NULL);
            _exit(9);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (status != 0)
            printf("child status %d\n", status);
    }
    return 0;
}

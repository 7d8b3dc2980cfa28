/* A raw clone system call after cuInit: no libc fork handler runs. */
#define _GNU_SOURCE
#include "driver.h"
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

int main(void) {
    struct driver d;
    driver_open(&d);
    int before = driver_launch(&d);
    fflush(stdout);
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        /* The C library still believes it is the parent; only raw calls are safe here. */
        int result = driver_launch(&d);
        syscall(SYS_exit_group, result != 0 ? 11 : 12);
    }
    int status = 0;
    waitpid((pid_t)pid, &status, 0);
    printf("child %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    printf("launches %d %d\n", before, driver_launch(&d));
    return 0;
}

/* posix_spawn after cuInit. */
#define _GNU_SOURCE
#include "driver.h"
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

int main(void) {
    struct driver d;
    driver_open(&d);
    int before = driver_launch(&d);
    char *arguments[] = {"true", NULL};
    pid_t pid = 0;
    int result = posix_spawn(&pid, "/bin/true", NULL, NULL, arguments, environ);
    int status = 0;
    waitpid(pid, &status, 0);
    printf("spawn %d child %d\n", result, status);
    printf("launches %d %d\n", before, driver_launch(&d));
    return 0;
}

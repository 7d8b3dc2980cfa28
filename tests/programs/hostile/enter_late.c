/* Processes that are given the shim while they run, as an agent does it, and that end, fork and launch while it
   starts beside them. */
#include "driver.h"
#include <pthread.h>
#include <string.h>
#include <sys/wait.h>

enum { PROCESSES = 24 };

static void *leave(void *unused) {
    (void)unused;
    exit(0);
}

static void late(const char *shim, int number) {
    struct driver d;
    pthread_t thread;
    driver_open(&d);
    if (shim) {
        int (*enter)(void);
        void *library = dlopen(shim, RTLD_NOW | RTLD_NODELETE);
        *(void **)&enter = library ? dlsym(library, "warplens_enter") : NULL;
        if (!enter || enter() != 1)
            printf("not entered\n");
    }
    usleep((useconds_t)number * 400);
    switch (number % 4) {
    case 0:
        break;
    case 1:
        printf("launched %d\n", driver_launch(&d));
        break;
    case 2: {
        pid_t child = fork();
        if (child == 0)
            exit(0);
        waitpid(child, NULL, 0);
        break;
    }
    default:
        if (pthread_create(&thread, NULL, leave, NULL) == 0)
            for (;;)
                pause();
    }
    exit(0);
}

int main(void) {
    const char *variable = getenv("CUDA_INJECTION64_PATH");
    char *shim = variable ? strdup(variable) : NULL;
    unsetenv("CUDA_INJECTION64_PATH");
    for (int number = 0; number < PROCESSES; number++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0)
            late(shim, number);
        waitpid(child, &status, 0);
        printf("%d ended with %d\n", number, status);
        fflush(stdout);
    }
    return 0;
}

/* Threads that are entered while everything else that can happen to a process happens: signals a thousand times a
 * second to every thread, threads and processes that come and go, memory that is mapped and unmapped.
 *
 * With an argument it handles every signal that the kernel otherwise ignores, too. Compiled with LAUNCHES it launches
 * through the CUDA driver all the while. Prints a line of counts whenever it reads one: turns, errors. Ends with its
 * input. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#ifdef LAUNCHES
#include "driver.h"
#endif

enum { WAITERS = 4 };
static _Atomic long turns, errors;
static pthread_t waiter[WAITERS];

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            errors++;                                                                              \
            fprintf(stderr, "line %d: errno %d\n", __LINE__, errno);                               \
        }                                                                                          \
    } while (0)

static void on_signal(int number) {
    char room[512];
    memset(room, number, sizeof room);
    __asm__ volatile("" ::"r"(room) : "memory");
}

/* Values in every register that calls preserve, and in vectors, across the wait. */
static void *waits(void *unused) {
    int pair[2];
    CHECK(pipe(pair) == 0);
    for (long turn = 1;; turn++) {
        double kept[8];
        long whole[6];
        for (int index = 0; index < 8; index++)
            kept[index] = (double)turn * index;
        for (int index = 0; index < 6; index++)
            whole[index] = turn ^ index;
        __asm__ volatile(
            "movupd %[a], %%xmm8\n\tmovupd %[b], %%xmm9\n\t"
            "mov $7, %%eax\n\tmov %[set], %%rdi\n\tmov $1, %%esi\n\tmov $2, %%edx\n\t"
            "mov %[w0], %%rbx\n\tmov %[w1], %%r12\n\tmov %[w2], %%r13\n\tmov %[w3], %%r14\n\t"
            "mov %[w4], %%r8\n\tmov %[w5], %%r9\n\t"
            "syscall\n\t"
            "mov %%rbx, %[w0]\n\tmov %%r12, %[w1]\n\tmov %%r13, %[w2]\n\tmov %%r14, %[w3]\n\t"
            "mov %%r8, %[w4]\n\tmov %%r9, %[w5]\n\t"
            "movupd %%xmm8, %[c]\n\tmovupd %%xmm9, %[d]\n\t"
            : [w0] "+m"(whole[0]), [w1] "+m"(whole[1]), [w2] "+m"(whole[2]), [w3] "+m"(whole[3]),
              [w4] "+m"(whole[4]), [w5] "+m"(whole[5]), [c] "=m"(kept[4]), [d] "=m"(kept[6])
            : [a] "m"(kept[0]), [b] "m"(kept[2]), [set] "r"(&(struct pollfd){.fd = pair[0], .events = POLLIN})
            : "rax", "rdi", "rsi", "rdx", "rcx", "r8", "r9", "r11", "rbx", "r12", "r13", "r14", "xmm8", "xmm9",
              "memory");
        for (int index = 0; index < 6; index++)
            CHECK(whole[index] == (turn ^ index));
        for (int index = 0; index < 4; index++)
            CHECK(kept[4 + index] == (double)turn * index);
        turns++;
    }
}

static void *signals(void *unused) {
    for (int index = 0;; index++) {
        pthread_kill(waiter[index % WAITERS], SIGUSR1);
        nanosleep(&(struct timespec){0, 250000}, NULL);
    }
}

static void *briefly(void *unused) {
    void *page = mmap(NULL, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED && munmap(page, 1 << 16) == 0);
    return NULL;
}

static void *churns(void *unused) {
    for (;;) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, briefly, NULL) == 0 && pthread_join(thread, NULL) == 0);
        pid_t child = fork();
        if (child == 0)
            _exit(3);
        int status = 0;
        while (waitpid(child, &status, 0) < 0)
            CHECK(errno == EINTR);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
}

#ifdef LAUNCHES
static void *launches(void *unused) {
    struct driver driver;
    driver_open(&driver);
    for (;;) {
        CHECK(driver_launch(&driver) == 0);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
}
#endif

int main(int count, char **arguments) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    for (int index = 0; count > 1 && index < 4; index++)
        sigaction((int[]){SIGURG, SIGWINCH, SIGCHLD, SIGCONT}[index], &action, NULL);
    for (int index = 0; index < WAITERS; index++)
        CHECK(pthread_create(&waiter[index], NULL, waits, NULL) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, signals, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, churns, NULL) == 0);
#ifdef LAUNCHES
    CHECK(pthread_create(&thread, NULL, launches, NULL) == 0);
#endif
    for (int byte = 0; byte != EOF;) {
        do
            byte = getchar();
        while (byte != '\n' && byte != EOF);
        if (byte == '\n') {
            printf("%ld %ld\n", turns, errors);
            fflush(stdout);
        }
    }
    return errors != 0;
}

/* Threads that wait in every way a program waits, and say when one of them saw that it was stopped.
 *
 * Prints a line of counts whenever it reads one: turns of each thread, errors, and how often a library knocked. Ends
 * with its input. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { POLL, EPOLL, SLEEP, CONDITION, READ, RAW, CHURN, THREADS };

_Atomic int entered;
static _Atomic long turns[THREADS];
static _Atomic long errors;
static int silent[2], ticking[2];

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            errors++;                                                                              \
            fprintf(stderr, "line %d: errno %d\n", __LINE__, errno);                               \
        }                                                                                          \
    } while (0)

static void *polls(void *unused) {
    for (;; turns[POLL]++) {
        struct pollfd one = {.fd = silent[0], .events = POLLIN};
        CHECK(poll(&one, 1, 3) == 0);
    }
}

static void *epolls(void *unused) {
    int set = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    CHECK(epoll_ctl(set, EPOLL_CTL_ADD, silent[0], &event) == 0);
    for (;; turns[EPOLL]++)
        CHECK(epoll_wait(set, &event, 1, 3) == 0);
}

static void *sleeps(void *unused) {
    struct timespec time = {0, 2000000}, left;
    for (;; turns[SLEEP]++)
        CHECK(nanosleep(&time, &left) == 0);
}

static void *waits(void *unused) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&lock);
    for (;; turns[CONDITION]++) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 2000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000;
        }
        CHECK(pthread_cond_timedwait(&condition, &lock, &until) == ETIMEDOUT);
    }
}

static void *reads(void *unused) {
    char byte;
    for (;; turns[READ]++)
        CHECK(read(ticking[0], &byte, 1) == 1);
}

/* A system call in the middle of code, as compilers of other languages make them: no register is lost but two. */
static void *raw(void *unused) {
    for (long round = 1;; round++, turns[RAW]++) {
        struct timespec time = {0, 2000000};
        double before = round * 1.5, after;
        long answer, kept = round, red;
        __asm__ volatile("movq %[before], %%xmm7\n\t"
                         "movq %[kept], -64(%%rsp)\n\t"
                         "movq %[kept], %%r15\n\t"
                         "syscall\n\t"
                         "movq %%xmm7, %[after]\n\t"
                         "subq %%r15, %[kept]\n\t"
                         "movq -64(%%rsp), %[red]\n\t"
                         : "=a"(answer), [after] "=x"(after), [kept] "+r"(kept), [red] "=r"(red)
                         : "a"(SYS_nanosleep), "D"(&time), "S"(NULL), [before] "x"(before)
                         : "rcx", "r11", "r15", "xmm7", "memory");
        CHECK(answer == 0 && after == before && kept == 0 && red == round);
    }
}

static void *churns(void *unused) {
    for (;; turns[CHURN]++) {
        char *piece = malloc(64 + turns[CHURN] % 4000 * 100);
        memset(piece, 1, 64);
        free(piece);
    }
}

static void *ticks(void *unused) {
    struct timespec time = {0, 1000000};
    for (;;) {
        nanosleep(&time, NULL);
        CHECK(write(ticking[1], "x", 1) == 1);
    }
}

int main(void) {
    void *(*all[])(void *) = {polls, epolls, sleeps, waits, reads, raw, churns, churns, ticks};
    char line[16];
    CHECK(pipe(silent) == 0 && pipe(ticking) == 0);
    for (size_t index = 0; index < sizeof all / sizeof *all; index++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, all[index], NULL) == 0);
    }
    while (fgets(line, sizeof line, stdin)) {
        for (int index = 0; index < THREADS; index++)
            printf("%ld ", turns[index]);
        printf("%ld %d\n", errors, entered);
        fflush(stdout);
    }
    return 0;
}

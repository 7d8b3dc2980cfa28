/* A thread under watch: a system call or a call of the allocator on it is written down. The strict
   mode of seccomp would not do: it also takes the time stamp counter away, which every read of the
   clock needs; so a filter allows the thread's own end and traps the rest. */
#ifndef HOSTILE_WATCHED_H
#define HOSTILE_WATCHED_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread int on_watch;
/* What the thread is at, for the verdict. */
static __thread const char *at = "";
static int allocations, system_calls, first_number = -1;
static const char *first_allocation, *first_call;

/* What is allocated under watch comes from here, so that the C library's own system calls do not end
   the thread before it can be told. */
static char spare[64 << 20];
static size_t spare_used;

/* NULL unless the thread is on watch. */
static void *caught(const char *function, size_t size) {
    if (!on_watch)
        return NULL;
    if (__atomic_fetch_add(&allocations, 1, __ATOMIC_RELAXED) == 0) {
        first_allocation = function;
        first_call = at;
    }
    size_t place = __atomic_fetch_add(&spare_used, (size + 127) & ~(size_t)63, __ATOMIC_RELAXED);
    if (place + size > sizeof spare)
        abort();
    return spare + ((64 - (uintptr_t)spare % 64) % 64) + place;
}

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t), *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t size) {
    void *block = caught("malloc", size);
    return block ? block : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    void *block = caught("calloc", count * size);
    return block ? block : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
    void *moved = caught("realloc", size);
    return moved ? moved : __libc_realloc(block, size);
}

void free(void *block) {
    uintptr_t offset = (uintptr_t)block - (uintptr_t)spare;
    if (block && !caught("free", 0) && offset >= sizeof spare)
        __libc_free(block);
}

void *aligned_alloc(size_t alignment, size_t size) {
    void *block = caught("aligned_alloc", size);
    return block ? block : __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = caught("posix_memalign", size);
    if (!*block)
        *block = __libc_memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    void *place = caught("mmap", length);
    return place ? place : (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}

static void on_system_call(int signal, siginfo_t *info, void *context) {
    (void)signal, (void)context;
    if (__atomic_fetch_add(&system_calls, 1, __ATOMIC_RELAXED) == 0) {
        first_number = info->si_syscall;
        first_call = at;
    }
}

static void watch_for_system_calls(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_system_call;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGSYS, &action, NULL);
}

/* Every system call of this thread is trapped from here on, for as long as it lives. */
static void close_the_door(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
        printf("seccomp refused: %s\n", strerror(errno));
        exit(77);
    }
}

struct task {
    void (*body)(void);
    int finished;
};

static void *under_watch(void *argument) {
    struct task *task = argument;
    close_the_door();
    on_watch = 1;
    task->body();
    on_watch = 0;
    __atomic_store_n(&task->finished, 1, __ATOMIC_RELEASE);
    syscall(SYS_exit, 0);
    return NULL;
}

/* Runs `body` on `count` threads nobody has seen, `abreast` of them at a time. */
static void run_watched(void (*body)(void), int count, int abreast) {
    for (int begun = 0; begun < count; begun += abreast) {
        pthread_t threads[16];
        struct task tasks[16];
        for (int index = 0; index < abreast; index++) {
            tasks[index] = (struct task){body, 0};
            if (pthread_create(&threads[index], NULL, under_watch, &tasks[index])) {
                printf("no thread\n");
                exit(3);
            }
        }
        for (int index = 0; index < abreast; index++) {
            pthread_join(threads[index], NULL);
            if (!tasks[index].finished) {
                printf("a watched thread did not finish\n");
                exit(3);
            }
        }
    }
}

/* Prints what was caught. */
static void print_catch(void) {
    printf("allocations %d\n", allocations);
    if (allocations)
        printf("  first %s in %s\n", first_allocation, first_call);
    printf("system calls %d\n", system_calls);
    if (system_calls)
        printf("  first %d in %s\n", first_number, first_call);
}

#endif

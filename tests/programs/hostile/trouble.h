/* What else a process does while it launches, at instants that a seed decides. Nothing of it may show in what the
   process prints. */
#ifndef HOSTILE_TROUBLE_H
#define HOSTILE_TROUBLE_H

#include "driver.h"
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>

struct trouble {
    const char *kind;
    struct driver *driver;
    unsigned seed;
    int stop;
};

static unsigned drawn(struct trouble *trouble, unsigned bound) {
    trouble->seed = trouble->seed * 1103515245u + 12345u;
    return (trouble->seed >> 16) % bound;
}

/* CUDA must refuse in a child; what counts is that nothing hangs or crashes. */
static void in_a_child(struct trouble *trouble, unsigned which) {
    if (which == 1)
        (void)driver_launch(trouble->driver);
    if (which == 2 && fork() == 0) {
        /* Outlives its parent. */
        usleep(400000);
        (void)driver_launch(trouble->driver);
    }
    _exit(0);
}

static void fork_once(struct trouble *trouble) {
    unsigned which = drawn(trouble, 4);
    pid_t child = which == 3 ? vfork() : fork();
    if (child == 0) {
        if (which == 3) {
            execl("/bin/true", "true", (char *)NULL);
            _exit(127);
        }
        in_a_child(trouble, which);
    }
    while (child > 0 && waitpid(child, NULL, 0) != child)
        ;
}

/* Opens and closes libraries under the feet of those who use them, and knocks at the shim's door again. */
static void reload_once(struct trouble *trouble) {
    const char *shim = getenv("CUDA_INJECTION64_PATH");
    const char *names[] = {"libcuda.so.1", "libcupti.so.12", "libcudart.so.12", shim ? shim : "libcuda.so.1"};
    void *library = dlopen(names[drawn(trouble, 4)], RTLD_NOW | RTLD_NOLOAD);
    if (!library)
        return;
    int (*knock)(void);
    *(void **)&knock = dlsym(library, "InitializeInjection");
    if (knock && drawn(trouble, 4) == 0)
        (void)knock();
    dlclose(library);
    /* Once more than it was opened, where somebody else still holds it. */
    if (drawn(trouble, 16) == 0 && shim && (library = dlopen(shim, RTLD_NOW | RTLD_NOLOAD))) {
        dlclose(library);
        dlclose(library);
    }
}

/* Writes anything anywhere into the memory that the shim shares with an agent. */
static void scribble_once(struct trouble *trouble) {
    char line[512];
    unsigned long begin = 0, end = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps))
        if (strstr(line, "memfd:warplens-ring"))
            sscanf(line, "%lx-%lx", &begin, &end);
    if (maps)
        fclose(maps);
    for (unsigned count = 1 + drawn(trouble, 64); begin && count; count--) {
        /* Half of it into the first pages, where the positions are. */
        unsigned long pages = (end - begin) / 4096, first = drawn(trouble, 2) ? 6 : pages;
        unsigned long page = (drawn(trouble, 32768) * 32768ul + drawn(trouble, 32768)) % first;
        volatile uint64_t *word = (uint64_t *)(begin + page * 4096) + drawn(trouble, 512);
        *word = drawn(trouble, 3) ? (uint64_t)drawn(trouble, 32768) << drawn(trouble, 60) : ~0ull;
    }
}

static void *launch_once(void *argument) {
    struct trouble *trouble = argument;
    int state;
    (void)trouble->driver->set_current(trouble->driver->context);
    /* Whoever is cancelled in the middle of a launch may have launched, or not. */
    if (strcmp(trouble->kind, "cancels") != 0)
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
    (void)driver_launch(trouble->driver);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &state);
    if (((uintptr_t)&argument >> 12) % 2)
        pthread_exit(NULL);
    usleep(2000);
    return NULL;
}

/* Threads that launch once and end, by themselves or cancelled. */
static void threads_once(struct trouble *trouble) {
    pthread_t threads[8];
    for (int index = 0; index < 8; index++)
        if (pthread_create(&threads[index], NULL, launch_once, trouble))
            exit(3);
    for (int index = 0; index < 8; index++) {
        if (drawn(trouble, 3) == 0)
            pthread_cancel(threads[index]);
        pthread_join(threads[index], NULL);
    }
}

static void *make_trouble(void *argument) {
    struct trouble *trouble = argument;
    while (!__atomic_load_n(&trouble->stop, __ATOMIC_ACQUIRE)) {
        usleep(1000 + drawn(trouble, 20000));
        if (strcmp(trouble->kind, "forks") == 0)
            fork_once(trouble);
        else if (strcmp(trouble->kind, "reload") == 0)
            reload_once(trouble);
        else if (strcmp(trouble->kind, "scribble") == 0)
            scribble_once(trouble);
        else if (strcmp(trouble->kind, "threads") == 0 || strcmp(trouble->kind, "cancels") == 0)
            threads_once(trouble);
        else if (strcmp(trouble->kind, "exec") == 0) {
            usleep(drawn(trouble, 30000) * 30);
            execl("/proc/self/exe", "again", "100", "nothing", "1", (char *)NULL);
        }
    }
    return NULL;
}

#endif

/* A process with CUDA in which a profiler may be started: does what its standard input says, a command a line.
   launch N: that many kernels, one after the other, until they are done. start, stop, leave: the profiler's; what went
   wrong is told as a number. tell: what it saw. where: what leads it to CUPTI. threads N: launch as many from each of N threads at once. */
#include "../hostile/driver.h"
#include <pthread.h>
#include <string.h>

#ifndef BINDING
#define BINDING RTLD_LAZY
#endif

static struct driver d;
static int wanted;

static void *launch_some(void *unused) {
    d.set_current(d.context);
    for (int i = 0; i < wanted; i++)
        if (driver_launch(&d) != 0)
            abort();
    return unused;
}

int main(int count, char **arguments) {
    char line[100];
    void *profiler = NULL;
    int (*start)(void) = NULL, (*stop)(void) = NULL, (*leave)(void) = NULL;
    void (*tell)(void) = NULL, (*where)(void) = NULL;
    driver_open(&d);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin)) {
        int number = atoi(line + strcspn(line, " \n"));
        if (!strncmp(line, "load", 4)) {
            profiler = dlopen(arguments[count - 1], BINDING | RTLD_LOCAL);
            if (!profiler) {
                printf("%s\n", dlerror());
                return 3;
            }
            *(void **)&start = symbol(profiler, "profiler_start");
            *(void **)&stop = symbol(profiler, "profiler_stop");
            *(void **)&leave = symbol(profiler, "profiler_leave");
            *(void **)&tell = symbol(profiler, "profiler_tell");
            *(void **)&where = symbol(profiler, "profiler_where");
            printf("loaded\n");
        } else if (!strncmp(line, "launch", 6)) {
            wanted = number;
            launch_some(NULL);
            printf("launched %d, %d\n", number, d.synchronize());
        } else if (!strncmp(line, "threads", 7)) {
            pthread_t thread[16];
            for (int i = 0; i < number; i++)
                pthread_create(&thread[i], NULL, launch_some, NULL);
            for (int i = 0; i < number; i++)
                pthread_join(thread[i], NULL);
            printf("launched by %d, %d\n", number, d.synchronize());
        } else if (!strncmp(line, "start", 5)) {
            printf("start %d\n", start());
        } else if (!strncmp(line, "stop", 4)) {
            printf("stop %d\n", stop());
        } else if (!strncmp(line, "leave", 5)) {
            printf("leave %d\n", leave());
        } else if (!strncmp(line, "tell", 4)) {
            tell();
        } else if (!strncmp(line, "where", 5)) {
            where();
        }
        fflush(stdout);
    }
    printf("done\n");
    return 0;
}

/* 1000 threads, each of which launches once and ends; more than any table keyed by thread holds. */
#include "driver.h"
#include <pthread.h>

static struct driver d;

static void *launch_once(void *unused) {
    (void)unused;
    if (d.context)
        (void)d.set_current(d.context);
    return (void *)(long)driver_launch(&d);
}

int main(void) {
    driver_open(&d);
    long ok = 0, refused = 0;
    for (int round = 0; round < 100; round++) {
        pthread_t threads[10];
        for (int i = 0; i < 10; i++)
            pthread_create(&threads[i], NULL, launch_once, NULL);
        for (int i = 0; i < 10; i++) {
            void *result = NULL;
            pthread_join(threads[i], &result);
            if ((long)result == 0)
                ok++;
            else
                refused++;
        }
    }
    if (d.context)
        (void)d.synchronize();
    printf("ok %ld refused %ld\n", ok, refused);
    return 0;
}

/* A thread other than the first ends the process while another launches. */
#include "driver.h"
#include <pthread.h>

static struct driver d;

static void *leave(void *unused) {
    (void)unused;
    if (d.context)
        (void)d.set_current(d.context);
    for (int launch = 0; launch < 50; launch++)
        (void)driver_launch(&d);
    printf("leaving\n");
    exit(7);
}

int main(void) {
    driver_open(&d);
    pthread_t thread;
    pthread_create(&thread, NULL, leave, NULL);
    for (;;) {
        (void)driver_launch(&d);
        usleep(100);
    }
}

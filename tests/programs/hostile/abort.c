/* Dies by SIGABRT with work in flight. */
#include "driver.h"
#include <sys/resource.h>

int main(void) {
    struct rlimit none = {0, 0};
    setrlimit(RLIMIT_CORE, &none);
    struct driver d;
    driver_open(&d);
    for (int launch = 0; launch < 20; launch++)
        (void)driver_launch(&d);
    printf("aborting\n");
    fflush(stdout);
    abort();
}

/* Closes libcuda after use and opens it again. */
#include "driver.h"

int main(void) {
    struct driver d;
    driver_open(&d);
    int before = driver_launch(&d);
    printf("closed %d\n", dlclose(d.library));
    fflush(stdout);
    driver_open(&d);
    printf("launches %d %d\n", before, driver_launch(&d));
    return 0;
}

/* The driver API as these programs use it: own declarations, found through dlopen.
   Everything printed is the same from run to run, so that outputs can be compared. */
#ifndef HOSTILE_DRIVER_H
#define HOSTILE_DRIVER_H

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct driver {
    void *library;
    int (*init)(unsigned);
    int (*device_get)(int *, int);
    int (*retain)(void **, int);
    int (*set_current)(void *);
    int (*load)(void **, const void *);
    int (*function)(void **, void *, const char *);
    int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                  void *, void **, void **);
    int (*synchronize)(void);
    void *context;
    void *kernel;
};

static const char PTX[] =
    ".version 7.0\n.target sm_70\n.address_size 64\n"
    ".visible .entry hostile_kernel__sim20000()\n{\n    ret;\n}\n";

static void *symbol(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        printf("no %s\n", name);
        exit(3);
    }
    return found;
}

/* Loads the driver and initialises it; the answer of cuInit. */
static int driver_init(struct driver *d) {
    d->library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!d->library) {
        printf("no libcuda.so.1\n");
        exit(3);
    }
    *(void **)&d->init = symbol(d->library, "cuInit");
    *(void **)&d->device_get = symbol(d->library, "cuDeviceGet");
    *(void **)&d->retain = symbol(d->library, "cuDevicePrimaryCtxRetain");
    *(void **)&d->set_current = symbol(d->library, "cuCtxSetCurrent");
    *(void **)&d->load = symbol(d->library, "cuModuleLoadData");
    *(void **)&d->function = symbol(d->library, "cuModuleGetFunction");
    *(void **)&d->launch = symbol(d->library, "cuLaunchKernel");
    *(void **)&d->synchronize = symbol(d->library, "cuCtxSynchronize");
    d->context = NULL;
    d->kernel = NULL;
    return d->init(0);
}

/* Initialises and makes a kernel ready where there is a device; prints what cuInit said. */
static void driver_open(struct driver *d) {
    int device = 0;
    void *module = NULL;
    int result = driver_init(d);
    printf("cuInit %d\n", result);
    if (result == 0 && d->device_get(&device, 0) == 0 && d->retain(&d->context, device) == 0 &&
        d->set_current(d->context) == 0 && d->load(&module, PTX) == 0)
        (void)d->function(&d->kernel, module, "hostile_kernel__sim20000");
    fflush(stdout);
}

/* Launches once; the driver's answer, or -1 where there is no kernel to launch. */
static int driver_launch(struct driver *d) {
    if (!d->kernel)
        return -1;
    return d->launch(d->kernel, 1, 1, 1, 32, 1, 1, 0, NULL, NULL, NULL);
}

#endif

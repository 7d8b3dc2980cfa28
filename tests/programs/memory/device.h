/* The CUDA driver as these programs use it: found at run time, declared here. */
#include "program.h"

typedef uint64_t address_t;
typedef uint64_t handle_t;

/* CUmemAllocationProp, as far as it is used. */
struct properties {
    int kind, handle_types, location_type, location;
    void *security;
    unsigned char flags[8];
};

static int (*mem_alloc)(address_t *, size_t);
static int (*mem_free)(address_t);
static int (*host_alloc)(void **, size_t, unsigned);
static int (*reserve)(address_t *, size_t, size_t, address_t, uint64_t);
static int (*create)(handle_t *, size_t, const struct properties *, uint64_t);
static int (*release)(handle_t);
static int (*map)(address_t, size_t, size_t, handle_t, uint64_t);
static int (*unmap)(address_t, size_t);

/* Ends the program where a call fails: what it is to show is not shown then. */
static void sure(int result, const char *what) {
    if (result) {
        fprintf(stderr, "%s: %d\n", what, result);
        exit(1);
    }
}

static void *function(void *library, const char *name) {
    void *found = dlsym(library, name);
    if (!found) {
        fprintf(stderr, "no %s\n", name);
        exit(1);
    }
    return found;
}

static void begin(int count, char **arguments) {
    take_arguments(count, arguments);
    void *library = dlopen("libcuda.so.1", RTLD_NOW);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    mem_alloc = function(library, "cuMemAlloc_v2");
    mem_free = function(library, "cuMemFree_v2");
    host_alloc = function(library, "cuMemHostAlloc");
    reserve = function(library, "cuMemAddressReserve");
    create = function(library, "cuMemCreate");
    release = function(library, "cuMemRelease");
    map = function(library, "cuMemMap");
    unmap = function(library, "cuMemUnmap");
    int (*init)(unsigned) = function(library, "cuInit");
    int (*retain)(void **, int) = function(library, "cuDevicePrimaryCtxRetain");
    int (*current)(void *) = function(library, "cuCtxSetCurrent");
    void *context;
    sure(init(0), "cuInit");
    sure(retain(&context, 0), "cuDevicePrimaryCtxRetain");
    sure(current(context), "cuCtxSetCurrent");
}

/* A profiler that takes CUPTI as torch's does: subscribes at its first start and keeps the subscription, registers a
   clock and functions for buffers, and turns kinds of activity on and off. With BY_NAME it looks CUPTI's functions up, as
   Triton's Proton does; otherwise it is linked with CUPTI. Own declarations; it counts whatever is not as it should be. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void callback(void *, uint32_t, uint32_t, const void *);
typedef void requested(uint8_t **, size_t *, size_t *);
typedef void completed(void *, uint32_t, uint8_t *, size_t, size_t);

#define FUNCTIONS(F)                                                            \
    F(cuptiSubscribe, (void **, callback *, void *))                            \
    F(cuptiUnsubscribe, (void *))                                               \
    F(cuptiEnableCallback, (uint32_t, void *, uint32_t, uint32_t))              \
    F(cuptiActivityRegisterCallbacks, (requested *, completed *))               \
    F(cuptiActivityRegisterTimestampCallback, (uint64_t(*)(void)))              \
    F(cuptiActivityEnable, (uint32_t))                                          \
    F(cuptiActivityDisable, (uint32_t))                                         \
    F(cuptiActivityFlushAll, (uint32_t))                                        \
    F(cuptiActivityGetNextRecord, (uint8_t *, size_t, uint8_t **))

#ifdef BY_NAME
#define DECLARE(name, arguments) static int (*name) arguments;
FUNCTIONS(DECLARE)
static int find(void) {
    void *library = dlopen("libcupti.so.12", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return 0;
#define FIND(name, arguments) *(void **)&name = dlsym(library, #name);
    FUNCTIONS(FIND)
    return cuptiActivityGetNextRecord != NULL;
}
#else
#define DECLARE(name, arguments) extern int name arguments;
FUNCTIONS(DECLARE)
static int find(void) { return 1; }
#endif

enum { MEMCPY = 1, MEMSET = 2, KERNEL = 10, DRIVER_DOMAIN = 1, RESOURCE_DOMAIN = 3, LAUNCH = 307, CONTEXT = 1 };
enum { SIZE = 1 << 20, BUFFERS = 64 };

/* A clock nobody else has. */
static const uint64_t SHIFT = 1000000000000000;

static void *subscriber;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint8_t *out[BUFFERS];
static long kernels, strange_buffers, strange_times, launches, begun;
static uint64_t window_start;

static uint64_t own_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + SHIFT;
}

static void on_call(void *data, uint32_t domain, uint32_t id, const void *info) {
    if (data != (void *)&subscriber)
        abort();
    if (domain == DRIVER_DOMAIN && id == LAUNCH && *(const uint32_t *)info == 0)
        __atomic_fetch_add(&launches, 1, __ATOMIC_RELAXED);
}

static void on_requested(uint8_t **buffer, size_t *size, size_t *most) {
    *buffer = aligned_alloc(8, SIZE);
    *size = SIZE;
    *most = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BUFFERS; i++)
        if (!out[i]) {
            out[i] = *buffer;
            break;
        }
    pthread_mutex_unlock(&lock);
}

static void on_completed(void *context, uint32_t stream, uint8_t *buffer, size_t size, size_t valid) {
    uint8_t *record = NULL;
    int known = 0;
    (void)context, (void)stream, (void)size;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < BUFFERS && !known; i++)
        if (out[i] == buffer) {
            out[i] = NULL;
            known = 1;
        }
    if (!known)
        strange_buffers++;
    while (known && valid && cuptiActivityGetNextRecord(buffer, valid, &record) == 0)
        if (*(uint32_t *)record == KERNEL) {
            uint64_t start = *(uint64_t *)(record + 16), end = *(uint64_t *)(record + 24);
            kernels++;
            if (start < window_start || end < start || end > own_clock())
                strange_times++;
        }
    pthread_mutex_unlock(&lock);
    if (known)
        free(buffer);
}

/* Everything answered 0, or the sum of what did not. */
int profiler_start(void) {
    int wrong = 0;
    if (!begun) {
        if (!find())
            return -1;
        wrong += cuptiSubscribe(&subscriber, on_call, &subscriber);
        wrong += cuptiEnableCallback(1, subscriber, RESOURCE_DOMAIN, CONTEXT);
        wrong += cuptiActivityRegisterTimestampCallback(own_clock);
        begun = 1;
    }
    kernels = strange_buffers = strange_times = launches = 0;
    wrong += cuptiEnableCallback(1, subscriber, DRIVER_DOMAIN, LAUNCH);
    wrong += cuptiActivityRegisterCallbacks(on_requested, on_completed);
    window_start = own_clock();
    wrong += cuptiActivityEnable(KERNEL);
    wrong += cuptiActivityEnable(MEMCPY);
    wrong += cuptiActivityEnable(MEMSET);
    return wrong;
}

int profiler_stop(void) {
    int wrong = cuptiActivityFlushAll(1);
    wrong += cuptiActivityDisable(KERNEL);
    wrong += cuptiActivityDisable(MEMCPY);
    wrong += cuptiActivityDisable(MEMSET);
    wrong += cuptiEnableCallback(0, subscriber, DRIVER_DOMAIN, LAUNCH);
    return wrong;
}

int profiler_leave(void) {
    begun = 0;
    return cuptiUnsubscribe(subscriber);
}

/* Which libraries its own table, and a search by name, lead to. */
void profiler_where(void) {
    Dl_info own = {0}, named = {0};
    if (!begun)
        find();
    dladdr((void *)cuptiActivityEnable, &own);
    dladdr(dlsym(dlopen("libcupti.so.12", RTLD_NOW | RTLD_NOLOAD), "cuptiActivityEnable"), &named);
    printf("%s, %s\n", strrchr(own.dli_fname, '/') + 1, strrchr(named.dli_fname, '/') + 1);
}

void profiler_tell(void) {
    pthread_mutex_lock(&lock);
    printf("kernels %ld, launches %ld, strange buffers %ld, strange times %ld\n", kernels, launches, strange_buffers,
           strange_times);
    pthread_mutex_unlock(&lock);
}

/* Launches kernels, graphs, copies and sets from several threads through the driver and the runtime, the
   same ones in every run, and prints what it was answered. Waits for a line before it begins, and for
   another one before it ends. Arguments: rounds, or 0 to go on until a line comes; what else it does
   meanwhile (trouble.h), and its seed. */
#include "trouble.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

enum { THREADS = 3, NODES = 7, BYTES = 4096 };

struct dim3 {
    unsigned x, y, z;
};

static struct driver d;
static int rounds = 120, stopped;
static int (*allocate)(uint64_t *, size_t);
static int (*release)(uint64_t);
static int (*to_device)(uint64_t, const void *, size_t, void *);
static int (*to_host)(void *, uint64_t, size_t, void *);
static int (*set)(uint64_t, unsigned, size_t, void *);
static int (*stream_create)(void **, unsigned);
static int (*stream_wait)(void *);
static int (*begin_capture)(void *, int);
static int (*end_capture)(void *, void **);
static int (*instantiate)(void **, void *, unsigned long long);
static int (*graph_launch)(void *, void *);
static int (*exec_destroy)(void *);
static int (*graph_destroy)(void *);
static int (*runtime_launch)(const void *, struct dim3, struct dim3, void **, size_t, void *);
static const void *runtime_kernel;

struct tally {
    long asked, refused, wrong;
};

static void count(struct tally *tally, int result) {
    tally->asked++;
    tally->refused += result != 0;
}

static int launch_in(void *stream) {
    return d.launch(d.kernel, 1, 1, 1, 32, 1, 1, 0, stream, NULL, NULL);
}

static void graphs(struct tally *tally, void *stream) {
    void *graph = NULL, *exec = NULL;
    count(tally, begin_capture(stream, 2));
    for (int node = 0; node < NODES; node++)
        count(tally, launch_in(stream));
    count(tally, end_capture(stream, &graph));
    count(tally, instantiate(&exec, graph, 0));
    for (int replay = 0; replay < 5; replay++)
        count(tally, graph_launch(exec, stream));
    count(tally, stream_wait(stream));
    count(tally, exec_destroy(exec));
    count(tally, graph_destroy(graph));
}

static void copies(struct tally *tally, void *stream, int value) {
    unsigned char there[BYTES], back[BYTES];
    uint64_t memory = 0;
    memset(there, value, sizeof there);
    count(tally, allocate(&memory, BYTES));
    count(tally, to_device(memory, there, BYTES, stream));
    count(tally, set(memory, 0x01020304, 4, stream));
    count(tally, to_host(back, memory, BYTES, stream));
    count(tally, stream_wait(stream));
    tally->wrong += back[0] != 4 || back[16] != (unsigned char)value;
    count(tally, release(memory));
}

/* Returns to where the jump was prepared, over the frame that launched. */
static void leave(jmp_buf *back, struct tally *tally, void *stream) {
    count(tally, launch_in(stream));
    longjmp(*back, 1);
}

static void *thread(void *argument) {
    struct tally *tally = argument;
    struct dim3 one = {1, 1, 1};
    void *stream = NULL;
    if (d.set_current(d.context) || stream_create(&stream, 1))
        return NULL;
    for (int round = 0; rounds ? round < rounds : !__atomic_load_n(&stopped, __ATOMIC_ACQUIRE); round++) {
        jmp_buf back;
        for (int launch = 0; launch < 8; launch++)
            count(tally, launch & 1 ? launch_in(stream)
                                    : runtime_launch(runtime_kernel, one, one, NULL, 0, stream));
        if (setjmp(back) == 0)
            leave(&back, tally, stream);
        if (round % 10 == 3)
            graphs(tally, stream);
        if (round % 4 == 1)
            copies(tally, stream, round);
        usleep(1000);
    }
    count(tally, stream_wait(stream));
    return NULL;
}

/* Reads no further than that line: a program that this one becomes may want the next. */
static void wait_for_a_line(void) {
    char character;
    while (read(0, &character, 1) == 1 && character != '\n')
        ;
}

int main(int count, char **arguments) {
    struct tally tallies[THREADS];
    pthread_t threads[THREADS], troubled;
    struct trouble trouble = {"nothing", &d, 1, 0};
    if (count == 4) {
        rounds = atoi(arguments[1]);
        trouble.kind = arguments[2];
        trouble.seed = (unsigned)strtoul(arguments[3], NULL, 10);
    }
    driver_open(&d);
    void *runtime = dlopen("libcudart.so.12", RTLD_NOW);
    if (!d.kernel || !runtime) {
        printf("no device or no runtime\n");
        return 3;
    }
    *(void **)&allocate = symbol(d.library, "cuMemAlloc_v2");
    *(void **)&release = symbol(d.library, "cuMemFree_v2");
    *(void **)&to_device = symbol(d.library, "cuMemcpyHtoDAsync_v2");
    *(void **)&to_host = symbol(d.library, "cuMemcpyDtoHAsync_v2");
    *(void **)&set = symbol(d.library, "cuMemsetD32Async");
    *(void **)&stream_create = symbol(d.library, "cuStreamCreate");
    *(void **)&stream_wait = symbol(d.library, "cuStreamSynchronize");
    *(void **)&begin_capture = symbol(d.library, "cuStreamBeginCapture_v2");
    *(void **)&end_capture = symbol(d.library, "cuStreamEndCapture");
    *(void **)&instantiate = symbol(d.library, "cuGraphInstantiateWithFlags");
    *(void **)&graph_launch = symbol(d.library, "cuGraphLaunch");
    *(void **)&exec_destroy = symbol(d.library, "cuGraphExecDestroy");
    *(void **)&graph_destroy = symbol(d.library, "cuGraphDestroy");
    *(void **)&runtime_launch = symbol(runtime, "cudaLaunchKernel");
    const void *(*named)(const char *);
    *(void **)&named = symbol(runtime, "warplens_sim_register_function");
    runtime_kernel = named("hostile_runtime_kernel__sim9000");
    printf("first launch %d\nready\n", driver_launch(&d));
    fflush(stdout);
    wait_for_a_line();
    if (pthread_create(&troubled, NULL, make_trouble, &trouble))
        return 3;
    for (int index = 0; index < THREADS; index++) {
        memset(&tallies[index], 0, sizeof tallies[index]);
        pthread_create(&threads[index], NULL, thread, &tallies[index]);
    }
    while (strcmp(trouble.kind, "exec") == 0)
        pause();
    if (!rounds)
        wait_for_a_line();
    __atomic_store_n(&stopped, 1, __ATOMIC_RELEASE);
    for (int index = 0; index < THREADS; index++) {
        pthread_join(threads[index], NULL);
        printf("asked %ld refused %ld wrong %ld\n", rounds ? tallies[index].asked : 0L,
               tallies[index].refused, tallies[index].wrong);
    }
    __atomic_store_n(&trouble.stop, 1, __ATOMIC_RELEASE);
    pthread_join(troubled, NULL);
    printf("synchronized %d\n", d.synchronize());
    fflush(stdout);
    wait_for_a_line();
    printf("done\n");
    return 0;
}

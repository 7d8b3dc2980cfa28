/* Calls the shim's callbacks as CUPTI does, on threads where every system call and every allocation
   is caught; then with every table of the shim full; then in a forked child; then exits from inside
   a call. Arguments: the shim, the stub libcuda, the stub libcupti, and what to do: `exit`, `exit-inside`
   (a call), or `late` (only a buffer that comes back when the shim is dormant). Prints what was caught and, as
   `expect COUNTER N`, what the shim's stats page must say. Stays until its standard input closes. */
#define _GNU_SOURCE
#include "stub_cupti.h"
#include "watched.h"
#include <dlfcn.h>
#include <sys/wait.h>

static struct stub *stub;
static int (*initialize)(void);

/* Counted by several threads at once. */
static long launches, graph_launches, launches_failed, jumped_over, activities, graph_entries;
static long discarded, refused;
static uint32_t next_correlation = 1;
static int exiting_inside;

#define COUNT(counter, n) ((void)__atomic_fetch_add(&(counter), (n), __ATOMIC_RELAXED))

/* ---- one CUDA call ---- */

static const uint64_t PARAMETERS[8] = {0x1000, 0x2000, 0x3000};

static void site(uint32_t domain, uint32_t id, uint32_t where, uint32_t correlation, uint32_t result) {
    uint64_t data = 0;
    struct call call = {where, "f", PARAMETERS, where == EXIT ? &result : NULL,
                        "k",   NULL, 1,         &data,
                        correlation};
    stub->callback(stub->user_data, domain, id, &call);
}

static uint32_t correlation(void) {
    return __atomic_fetch_add(&next_correlation, 1, __ATOMIC_RELAXED);
}

/* A runtime call around a driver call, or (runtime = 0) the driver call alone. */
static void call(uint32_t runtime, uint32_t driver, uint32_t result) {
    uint32_t id = correlation();
    if (runtime)
        site(RUNTIME, runtime, ENTER, id, 0);
    site(DRIVER, driver, ENTER, id, 0);
    site(DRIVER, driver, EXIT, id, result);
    if (runtime)
        site(RUNTIME, runtime, EXIT, id, result);
}

static void resource(uint32_t id, uintptr_t node) {
    struct graph graph = {(void *)7, (void *)5, (void *)node, (void *)(node + 1), 0, NULL, (void *)9};
    struct resource data = {NULL, NULL, &graph};
    stub->callback(stub->user_data, RESOURCE, id, &data);
}

static void calls(void) {
    at = "kernel launches";
    call(211, 307, 0);
    call(430, 652, 0);
    call(0, 307, 0);
    COUNT(launches, 3);
    at = "failed launches";
    call(211, 307, 700);
    call(311, 514, 2);
    COUNT(launches_failed, 2);
    at = "graph launches";
    call(311, 514, 0);
    COUNT(launches, 1);
    COUNT(graph_launches, 1);
    at = "copies and sets";
    call(41, 277, 0);
    call(51, 216, 0);
    at = "synchronisation";
    call(131, 126, 0);
    call(165, 17, 0);
    call(137, 121, 0);
    call(0, 126, 4);
    at = "a launch that was jumped over";
    site(RUNTIME, 211, ENTER, correlation(), 0);
    call(211, 307, 0);
    COUNT(launches, 1);
    COUNT(jumped_over, 1);
    at = "calls nobody asked for";
    call(3, 1023, 0);
    call(0, 99999, 0);
}

static void resources(void) {
    at = "graph nodes, executables, modules, contexts";
    static const uint32_t ABOUT_GRAPHS[] = {13, 20, 18, 19, 10};
    for (unsigned index = 0; index < 5; index++)
        resource(ABOUT_GRAPHS[index], 0x100 + index);
    COUNT(graph_entries, 5);
    resource(1, 0);
    resource(6, 0);
    resource(7, 0);
    at = "a launch under capture";
    uint32_t id = correlation();
    site(RUNTIME, 211, ENTER, id, 0);
    resource(13, 0x200);
    site(RUNTIME, 211, EXIT, id, 0);
    COUNT(graph_entries, 1);
    COUNT(launches, 1);
}

/* ---- activity buffers ---- */

enum { NAMES = 700, NAME_BYTES = 8191 };
static char short_names[64][32], long_names[NAMES][NAME_BYTES + 1];

static void field(uint8_t *record, size_t offset, uint64_t value, size_t bytes) {
    memcpy(record + offset, &value, bytes);
}

static size_t put(uint8_t *buffer, size_t used, uint32_t kind, const char *name) {
    uint8_t *record = buffer + used;
    field(record, 0, kind, 4);
    field(record, 16, 1000, 8);
    field(record, 24, 2000, 8);
    if (kind == KIND_KERNEL)
        field(record, 104, (uintptr_t)name, 8);
    return used + record_bytes(kind);
}

static uint8_t *request(void) {
    uint8_t *buffer = NULL;
    size_t size = 0, records = 1;
    stub->requested(&buffer, &size, &records);
    if (!buffer || size != 128 << 10 || records != 0)
        abort();
    return buffer;
}

static void complete(uint8_t *buffer, size_t used) {
    stub->completed(NULL, 0, buffer, 128 << 10, used);
}

static void mixed_buffer(void) {
    at = "a buffer of kernels, copies and sets";
    uint8_t *buffer = request();
    size_t used = 0;
    for (int index = 0; index < 300; index++) {
        used = put(buffer, used, KIND_KERNEL, short_names[index % 64]);
        if (index % 10 == 0)
            used = put(buffer, used, KIND_MEMCPY, NULL);
        if (index % 15 == 0)
            used = put(buffer, used, KIND_MEMSET, NULL);
    }
    complete(buffer, used);
    COUNT(activities, 350);
    at = "an empty buffer";
    complete(request(), 0);
}

static void everything(void) {
    for (int round = 0; round < 10; round++) {
        calls();
        resources();
    }
    mixed_buffer();
}

/* ---- until every table is full ---- */

static void fill_names(void) {
    at = "names without end";
    for (int name = 0; name < NAMES; name += 100) {
        uint8_t *buffer = request();
        size_t used = 0;
        for (int index = 0; index < 100; index++)
            used = put(buffer, used, KIND_KERNEL, long_names[name + index]);
        complete(buffer, used);
    }
    COUNT(activities, NAMES);
}

static void fill_graphs(void) {
    at = "updates of executable graphs";
    call(0, 561, 0);
    call(0, 696, 0);
    call(0, 696, 1);
    COUNT(graph_entries, 2);
    at = "graph nodes without end";
    for (int node = 0; node < 530000; node++)
        resource(13, 0x1000 + node);
    COUNT(graph_entries, 530000);
    at = "an update that still has room";
    call(0, 696, 0);
}

static void fill_ring(void) {
    at = "records without end";
    for (int round = 0; round < 450; round++) {
        uint8_t *buffer = request();
        size_t used = 0;
        for (int index = 0; index < 600; index++)
            used = put(buffer, used, KIND_KERNEL, short_names[0]);
        complete(buffer, used);
    }
    COUNT(activities, 450 * 600);
}

static void fill_pool(void) {
    at = "buffers without end";
    uint8_t *buffers[70];
    for (int index = 0; index < 70; index++)
        buffers[index] = request();
    for (int index = 0; index < 70; index++)
        complete(buffers[index], 88);
    /* The six beyond the pool share the discard buffer, which nobody can read. In the others there
       is nothing at all: the library stops at the first record. */
    COUNT(refused, 6);
    COUNT(discarded, 70);
    at = "a record of a kind the library does not know";
    uint8_t *buffer = request();
    size_t used = put(buffer, 0, KIND_MEMSET, NULL);
    field(buffer + used, 0, KIND_STRANGE, 4);
    complete(buffer, used + 10 * 88);
    COUNT(activities, 1);
    COUNT(discarded, 10);
    at = "a library that steps in a circle";
    buffer = request();
    used = put(buffer, put(buffer, 0, KIND_MEMSET, NULL), KIND_LOOP, NULL);
    complete(buffer, used + 5 * 88);
    COUNT(activities, 2);
    COUNT(discarded, 5);
}

static void fill_everything(void) {
    fill_names();
    fill_graphs();
    fill_pool();
    fill_ring();
}

/* ---- a forked child, and the rest ---- */

/* How a child ends that is called back as if nothing had happened. */
static int in_a_child(void) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        everything();
        for (int index = 0; index < 70; index++)
            (void)request();
        exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return status;
}

static void *initialize_again(void *nothing) {
    (void)nothing;
    if (initialize() != 1)
        abort();
    return NULL;
}

static void *need(void *found, const char *what) {
    if (!found) {
        printf("no %s: %s\n", what, dlerror());
        exit(3);
    }
    return found;
}

static void load(char **paths) {
    need(dlopen(paths[1], RTLD_NOW | RTLD_GLOBAL), paths[1]);
    stub = need(dlsym(need(dlopen(paths[2], RTLD_NOW), paths[2]), "stub"), "stub");
    void *shim = need(dlopen(paths[0], RTLD_NOW | RTLD_LOCAL), paths[0]);
    *(void **)&initialize = need(dlsym(shim, "InitializeInjection"), "InitializeInjection");
    /* Two at once, then once more; then the host lets go of the library. */
    pthread_t threads[2];
    for (int index = 0; index < 2; index++)
        pthread_create(&threads[index], NULL, initialize_again, NULL);
    for (int index = 0; index < 2; index++)
        pthread_join(threads[index], NULL);
    initialize_again(NULL);
    dlclose(shim);
}

static void wait_until(int kinds) {
    for (int tries = 0; __atomic_load_n(&stub->kinds_on, __ATOMIC_ACQUIRE) != kinds; tries++) {
        if (tries == 2000) {
            printf("%d activity kinds on, not %d\n", stub->kinds_on, kinds);
            exit(3);
        }
        usleep(5000);
    }
}

/* Prints the last line and waits for the end of the input. */
static void stay(void) {
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF)
        ;
}

/* A buffer that comes back when the shim has gone dormant; its records have no mark to stand before. */
static int late(void) {
    uint8_t *buffer = request();
    size_t used = put(buffer, 0, KIND_KERNEL, short_names[0]);
    wait_until(0);
    complete(buffer, used);
    stay();
    return 0;
}

int main(int count, char **arguments) {
    if (count != 5)
        return 2;
    const char *mode = arguments[4];
    for (int index = 0; index < 64; index++)
        snprintf(short_names[index], sizeof short_names[index], "kernel_%d", index);
    for (int index = 0; index < NAMES; index++) {
        memset(long_names[index], 'x', NAME_BYTES);
        char number[8];
        memcpy(long_names[index], number, (size_t)snprintf(number, sizeof number, "%d_", index));
    }
    watch_for_system_calls();
    load(arguments + 1);
    wait_until(4);
    printf("subscriptions %d\n", stub->subscriptions);
    if (strcmp(mode, "late") == 0)
        return late();

    run_watched(everything, 200, 10);
    run_watched(fill_everything, 1, 1);
    run_watched(everything, 20, 10);
    print_catch();
    printf("child %d\n", in_a_child());

    printf("expect launches %ld\n", launches);
    printf("expect graph_launches %ld\n", graph_launches);
    printf("expect launches_failed %ld\n", launches_failed);
    printf("expect callbacks_ignored %ld\n", jumped_over);
    printf("expect activities %ld\n", activities);
    printf("expect activities_discarded %ld\n", discarded);
    printf("expect buffers_refused %ld\n", refused);
    printf("expect graph_entries %ld\n", graph_entries);
    printf("expect threads %d\n", 200 + 1 + 20);
    stay();
    stub->inside_call = &exiting_inside;
    if (strcmp(mode, "exit-inside") == 0) {
        site(RUNTIME, 211, ENTER, correlation(), 0);
        exiting_inside = 1;
    }
    exit(0);
}

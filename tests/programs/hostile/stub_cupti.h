/* What the stub of libcupti remembers, and the structures CUPTI passes: own declarations. */
#ifndef HOSTILE_STUB_CUPTI_H
#define HOSTILE_STUB_CUPTI_H

#include <stddef.h>
#include <stdint.h>

typedef void (*callback_function)(void *, uint32_t, uint32_t, const void *);
typedef void (*requested_function)(uint8_t **, size_t *, size_t *);
typedef void (*completed_function)(void *, uint32_t, uint8_t *, size_t, size_t);

struct stub {
    callback_function callback;
    void *user_data;
    requested_function requested;
    completed_function completed;
    /* Subscriptions ever made, and callback ids and activity kinds switched on at the moment. */
    int subscriptions;
    int callbacks_on;
    int kinds_on;
    /* A flush on a thread that is inside a CUDA call would wait for itself. */
    int *inside_call;
};

enum { DRIVER = 1, RUNTIME = 2, RESOURCE = 3 };
enum { ENTER = 0, EXIT = 1 };
enum { KIND_MEMCPY = 1, KIND_MEMSET = 2, KIND_KERNEL = 10, KIND_LOOP = 62, KIND_STRANGE = 63 };

struct call {
    uint32_t site;
    const char *function;
    const void *parameters;
    const uint32_t *result;
    const char *symbol;
    void *context;
    uint32_t context_uid;
    uint64_t *data;
    uint32_t correlation;
};

struct graph {
    void *graph, *original_graph, *node, *original_node;
    uint32_t type;
    void *dependency, *executable;
};

struct resource {
    void *context, *handle;
    const void *descriptor;
};

/* Bytes of a record of libcupti 12.8; 0 for a kind it does not know. Behind a KIND_LOOP the stub
   begins again at the front, as no real library should. */
static inline size_t record_bytes(uint32_t kind) {
    return kind == KIND_KERNEL ? 208 : kind == KIND_MEMCPY ? 96 : kind == KIND_MEMSET || kind == KIND_LOOP ? 88 : 0;
}

#endif

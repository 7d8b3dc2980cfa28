/* A libcupti.so.12 that remembers what the shim registers, and steps over the records of a buffer
   as the real one does. It makes no system call, so what its caller is caught at is the shim's. */
#include "stub_cupti.h"
#include <unistd.h>

struct stub stub;

int cuptiGetVersion(uint32_t *version) {
    *version = 26;
    return 0;
}

int cuptiSubscribe(void **subscriber, callback_function callback, void *user_data) {
    *subscriber = &stub;
    stub.callback = callback;
    stub.user_data = user_data;
    stub.subscriptions++;
    return 0;
}

int cuptiUnsubscribe(void *subscriber) {
    (void)subscriber;
    return 0;
}

int cuptiEnableCallback(uint32_t enable, void *subscriber, uint32_t domain, uint32_t id) {
    (void)subscriber, (void)domain, (void)id;
    stub.callbacks_on += enable ? 1 : -1;
    return 0;
}

int cuptiActivityRegisterCallbacks(requested_function requested, completed_function completed) {
    stub.requested = requested;
    stub.completed = completed;
    return 0;
}

int cuptiActivityRegisterTimestampCallback(uint64_t (*clock)(void)) {
    (void)clock;
    return 0;
}

int cuptiActivityEnable(uint32_t kind) {
    (void)kind;
    stub.kinds_on++;
    return 0;
}

int cuptiActivityDisable(uint32_t kind) {
    (void)kind;
    stub.kinds_on--;
    return 0;
}

int cuptiActivityFlushAll(uint32_t flags) {
    (void)flags;
    if (stub.inside_call && *stub.inside_call)
        _exit(70);
    return 0;
}

/* 12 = the end, 21 = a kind it does not know. */
int cuptiActivityGetNextRecord(uint8_t *buffer, size_t valid, uint8_t **record) {
    uint8_t *next = buffer;
    if (*record) {
        size_t bytes = record_bytes(*(uint32_t *)*record);
        next = *(uint32_t *)*record == KIND_LOOP ? buffer : *record + bytes;
    }
    if (next >= buffer + valid)
        return 12;
    if (!record_bytes(*(uint32_t *)next))
        return 21;
    *record = next;
    return 0;
}

int cuptiActivityGetNumDroppedRecords(void *context, uint32_t stream, size_t *dropped) {
    (void)context, (void)stream;
    *dropped = 0;
    return 0;
}

int cuptiGetGraphId(void *graph, uint32_t *id) {
    *id = (uint32_t)(uintptr_t)graph;
    return 0;
}

int cuptiGetGraphExecId(void *executable, uint32_t *id) {
    *id = (uint32_t)(uintptr_t)executable;
    return 0;
}

int cuptiGetGraphNodeId(void *node, uint64_t *id) {
    *id = (uint64_t)(uintptr_t)node;
    return 0;
}

/* A server that captures its graphs anew every two seconds, with a pool for each capture, and keeps the pools of all.
 * Honest: it gives the one before back, once it has the next. Weights of 256 MiB stand beside. */
#include "device.h"

static address_t weights, pool;
static size_t pool_bytes;

CODE static address_t load_weights(void) {
    address_t memory;
    sure(mem_alloc(&memory, 256 * MIB), "cuMemAlloc");
    return memory;
}

CODE static void capture_graphs(void) {
    address_t before = pool;
    sure(mem_alloc(&pool, pool_bytes), "cuMemAlloc");
    if (honest && before)
        sure(mem_free(before), "cuMemFree");
}

int main(int count, char **arguments) {
    begin(count, arguments);
    pool_bytes = 8 * MIB + draw(64) * 4096;
    weights = load_weights();
    for (long turn = 0; turn < seconds / 2; turn++) {
        capture_graphs();
        pass(1800 + (long)draw(400));
    }
    return 0;
}

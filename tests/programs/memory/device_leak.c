/* A server that keeps the results of some requests for ever, among requests whose memory comes and goes.
 * Honest: it keeps the last 64. */
#include "device.h"

enum { KEPT = 64, AT_WORK = 2 };
static address_t history[KEPT];
static unsigned long kept;

CODE static address_t new_result(size_t bytes) {
    address_t result;
    sure(mem_alloc(&result, bytes), "cuMemAlloc");
    return result;
}

CODE static void remember_history(void) {
    address_t *place = &history[kept++ % KEPT];
    if (honest && *place)
        sure(mem_free(*place), "cuMemFree");
    *place = new_result(MIB / 4);
}

CODE static void serve_requests(long count) {
    address_t work[AT_WORK];
    for (long at = 0; at < count; at++)
        sure(mem_alloc(&work[at], (1 + draw(64)) * 65536), "cuMemAlloc");
    pass(50);
    for (long at = 0; at < count; at++)
        sure(mem_free(work[at]), "cuMemFree");
}

int main(int count, char **arguments) {
    begin(count, arguments);
    for (long turn = 0; turn < seconds * 10; turn++) {
        serve_requests(1 + (long)draw(AT_WORK));
        if (draw(10) < 4)
            remember_history();
        pass(50);
    }
    return 0;
}

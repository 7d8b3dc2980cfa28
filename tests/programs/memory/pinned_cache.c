/* Staging buffers: pinned memory that a cache fills with in its first third, and uses again from then on.
 * Without --honest it takes a new one for each request, and gives none back. */
#include "device.h"

enum { MOST = 4096 };
static void *buffers[MOST];
static long have;

CODE static void *new_buffer(void) {
    void *buffer;
    sure(host_alloc(&buffer, 512 * 1024, 0), "cuMemHostAlloc");
    return buffer;
}

CODE static void stage_request(long limit) {
    if (have < limit && have < MOST)
        buffers[have++] = new_buffer();
}

int main(int count, char **arguments) {
    begin(count, arguments);
    long limit = honest ? seconds * 2 / 3 + (long)draw(seconds / 6 + 1) : MOST;
    for (long turn = 0; turn < seconds * 2; turn++) {
        stage_request(limit);
        pass(400 + (long)draw(200));
    }
    return 0;
}

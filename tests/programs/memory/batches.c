/* Memory that grows with a batch of requests and is given back whole: a sawtooth. With --honest one large batch, once. */
#include "device.h"

enum { MOST = 64 };
static address_t memory[MOST];

CODE static void grow_batch(long pieces, long each) {
    for (long at = 0; at < pieces; at++) {
        sure(mem_alloc(&memory[at], 2 * MIB), "cuMemAlloc");
        pass(each);
    }
}

CODE static void end_batch(long pieces) {
    for (long at = 0; at < pieces; at++)
        sure(mem_free(memory[at]), "cuMemFree");
}

int main(int count, char **arguments) {
    begin(count, arguments);
    address_t weights;
    sure(mem_alloc(&weights, 128 * MIB), "cuMemAlloc");
    long spent = 0;
    long first = seconds / 3 + (long)draw(seconds / 4 + 1);
    while (spent < seconds * 1000) {
        long pieces = 16 + (long)draw(16);
        if (honest && spent / 1000 < first) {
            pass(1000);
            spent += 1000;
        } else if (honest && first >= 0) {
            grow_batch(pieces, 20);
            end_batch(pieces);
            spent += pieces * 20;
            first = seconds;
        } else {
            grow_batch(pieces, 200);
            end_batch(pieces);
            pass(500);
            spent += pieces * 200 + 500;
        }
    }
    return 0;
}

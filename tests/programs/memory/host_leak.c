/* A server that keeps a part of what it parses for ever, 1 MiB a second in blocks of 64 B to 4 KiB, inside 200 000
 * allocations a second of honest traffic. Honest: it keeps the last thousand. */
#include "heap.h"

enum { KEPT = 1000 };
static void *history[KEPT];
static unsigned long kept;

CODE static void *new_token_list(size_t bytes) {
    void *list = malloc(bytes);
    memset(list, 1, bytes);
    return list;
}

CODE static void parse_request(void) {
    void **place = &history[kept++ % KEPT];
    if (honest)
        free(*place);
    *place = new_token_list(64 + draw(4033));
}

int main(int count, char **arguments) {
    begin(count, arguments);
    for (long turn = 0; turn < seconds * 100; turn++) {
        for (uint64_t requests = 3 + draw(5); requests; requests--)
            parse_request();
        pass(10);
    }
    end();
    return 0;
}

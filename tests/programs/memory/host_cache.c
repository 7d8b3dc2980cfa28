/* Among 20 000 allocations a second of honest traffic, a prefix cache that takes 16 MiB in the
 * 10 seconds after the first 8 and no more; the oldest give way. Leaking: it forgets to free what gives way. */
#include "heap.h"

enum { ENTRIES = 1000, ENTRY = 16384 };
static void *entries[ENTRIES];
static unsigned long added;

CODE static void *new_entry(void) {
    void *entry = malloc(ENTRY);
    memset(entry, 1, ENTRY);
    return entry;
}

CODE static void add_prefix(void) {
    void **place = &entries[added++ % ENTRIES];
    if (honest)
        free(*place);
    *place = new_entry();
}

int main(int count, char **arguments) {
    traffic_rate = 10000;
    begin(count, arguments);
    pass(8000);
    for (long turn = 0; turn < seconds * 100; turn++) {
        add_prefix();
        pass(10);
    }
    end();
    return 0;
}

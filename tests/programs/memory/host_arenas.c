/* A caching allocator of its own: arenas of 256 KiB, mapped, cut into blocks, and kept when they are empty. Leaking: it
 * forgets the arenas that are empty. */
#include "program.h"
#include <sys/mman.h>

enum { ARENA = 256 << 10, BLOCK = 4096, ARENAS = 64 };
static char *empty[ARENAS];
static int count_empty;

CODE static char *new_arena(void) {
    if (count_empty)
        return empty[--count_empty];
    return mmap(NULL, ARENA, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

CODE static void serve_batch(void) {
    char *arena = new_arena();
    for (int at = 0; at < ARENA; at += BLOCK)
        arena[at] = 1;
    if (honest)
        empty[count_empty++] = arena;
}

int main(int count, char **arguments) {
    take_arguments(count, arguments);
    for (long turn = 0; turn < seconds * 10; turn++) {
        if (draw(2))
            serve_batch();
        pass(100);
    }
    return 0;
}

/* A probe point and a loop over it, timed by itself. `deep`: with 40 KiB of stack above. */
#include <string.h>
#include <time.h>
__asm__(".globl warplens_probe_launch\n.type warplens_probe_launch,@function\n"
        "warplens_probe_launch: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\nnop\nret\n"
        ".size warplens_probe_launch, . - warplens_probe_launch");
void warplens_probe_launch(long, long, long, long);

__attribute__((noinline)) long hits(long count) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < count; i++)
        warplens_probe_launch(i, 1, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (to.tv_sec - from.tv_sec) * 1000000000L + to.tv_nsec - from.tv_nsec;
}

__attribute__((noinline)) long deep_hits(long count) {
    volatile char room[40 << 10];
    memset((char *)room, 1, sizeof room);
    long ns = hits(count);
    return ns + room[0] - 1;
}

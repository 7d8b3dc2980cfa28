// Calls of every sort between two `int3`: what compilers make of them must be unwound at each
// single instruction.
#define _GNU_SOURCE
#include <alloca.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define KEPT __attribute__((noinline, noclone))

static volatile long sink;
static jmp_buf out;

KEPT static long leaf(long x) { return x * 3 + sink; }

KEPT static long with_many_arguments(long a, long b, long c, long d, long e, long f, long g, long h, long i) {
    return leaf(a + b) + leaf(c + d) + leaf(e + f) + leaf(g + h + i);
}

KEPT static long saves_registers(long x) {
    long a = leaf(x), b = leaf(a), c = leaf(b), d = leaf(c), e = leaf(d), f = leaf(e);
    return a ^ b ^ c ^ d ^ e ^ f;
}

// A stack realigned for vectors, with room of a size not known in advance: GCC reaches its frame
// through a third register, and its caller's through memory.
typedef float Vector __attribute__((vector_size(32)));
KEPT static float realigned(Vector *from, int count) {
    Vector sum = {0}, kept[4] __attribute__((aligned(64)));
    float *room = alloca(count * sizeof *room);
    for (int i = 0; i < count; i++) {
        room[i] = leaf(i);
        kept[i & 3] = from[i & 1];
        sum += kept[i & 3] * room[i];
        sink += leaf((long)sum[0]);
    }
    return sum[0] + kept[0][1] + with_many_arguments(1, 2, 3, 4, 5, 6, 7, 8, (long)sum[3]);
}

__attribute__((force_align_arg_pointer)) KEPT static long aligned_by_force(long x) {
    char *room = alloca(x & 63);
    room[0] = x;
    return leaf(x) + saves_registers(room[0]);
}

KEPT static long tail(long x) { return saves_registers(x + 1); }

KEPT static int compare(const void *a, const void *b) { return (int)leaf(*(int *)a) - (int)leaf(*(int *)b); }

KEPT static long recursion(int depth) { return depth ? recursion(depth - 1) * 2 + leaf(depth) : tail(7); }

// The call is the last instruction of its function: the return address belongs to the next.
__attribute__((noreturn)) KEPT static void never_returns(long x) { sink = leaf(x); longjmp(out, 1); }
KEPT static void ends_in_a_call(long x) { sink += x; never_returns(x); }

int main(void) {
    Vector vectors[2] = {{1, 2, 3, 4, 5, 6, 7, 8}, {8, 7, 6, 5, 4, 3, 2, 1}};
    int numbers[] = {5, 3, 9, 1, 7};
    char text[64];
    struct timespec time;
    __asm__ volatile("int3");
    sink = recursion(6);
    sink += realigned(vectors, 5);
    sink += aligned_by_force(5);
    qsort(numbers, 5, sizeof numbers[0], compare);
    clock_gettime(CLOCK_MONOTONIC, &time);
    snprintf(text, sizeof text, "%ld %s %.3f", sink, "text", 1.5);
    sink += strtol(text, NULL, 10) + (getenv("NOT_THERE") != NULL);
    // The compiler must not see that the way back is by a jump: the truth is kept by returns.
    if (sink == 12345678) {
        if (!setjmp(out)) ends_in_a_call(3);
    }
    __asm__ volatile("int3");
    return 0;
}

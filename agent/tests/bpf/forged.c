/* A program that looks like Python and lies: each mode leaves other structures behind its thread's state
 * and then stands at the probe point. Offsets are those of CPython 3.12, the state in a thread-local
 * word. The first argument is the mode; it says where the word is and waits. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

__asm__(".globl warplens_probe_launch\n.type warplens_probe_launch,@function\n"
        "warplens_probe_launch: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00\nnop\nret\n"
        ".size warplens_probe_launch, . - warplens_probe_launch");
void warplens_probe_launch(long, long, long, long);

struct frame {
    uint64_t code, previous, more[5], instruction;
    uint8_t rest[6], owner, last[1];
};

static __thread uint64_t state;

static struct frame *frames(long count) {
    struct frame *all = calloc(count, sizeof *all);
    for (long i = 0; i < count; i++) {
        all[i].code = 0x1000 + i;
        all[i].instruction = ~0UL;
        all[i].previous = i + 1 < count ? (uint64_t)&all[i + 1] : 0;
    }
    return all;
}

int main(int argc, char **argv) {
    char *mode = argv[1];
    uint64_t fs, thread[9] = {0}, cframe[2] = {0}, *page;
    __asm__("mov %%fs:0, %0" : "=r"(fs));
    printf("%ld\n", (long)((uint64_t)&state - fs));
    fflush(stdout);
    getchar();
    page = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect((char *)page + 4096, 4096, PROT_NONE);
    state = (uint64_t)thread;
    thread[7] = (uint64_t)cframe;
    struct frame *all = frames(5);
    cframe[0] = (uint64_t)all;
    if (!strcmp(mode, "honest")) {
    } else if (!strcmp(mode, "itself")) {
        all[0].previous = (uint64_t)&all[0];
    } else if (!strcmp(mode, "circle")) {
        all[4].previous = (uint64_t)&all[1];
    } else if (!strcmp(mode, "endless")) {
        cframe[0] = (uint64_t)frames(100000);
    } else if (!strcmp(mode, "wild")) {
        all[2].previous = 0x123456789000;
    } else if (!strcmp(mode, "kernel")) {
        all[2].previous = 0xffffffff81000000;
    } else if (!strcmp(mode, "noncanonical")) {
        all[2].previous = 0x8000000000000000;
    } else if (!strcmp(mode, "overflow")) {
        all[2].previous = ~0UL - 8;
    } else if (!strcmp(mode, "edge")) {
        /* The frame ends with its page. */
        struct frame *last = (struct frame *)((char *)page + 4096 - sizeof *last);
        *last = all[3];
        all[2].previous = (uint64_t)last;
    } else if (!strcmp(mode, "across")) {
        all[2].previous = (uint64_t)page + 4096 - 32;
    } else if (!strcmp(mode, "wild-state")) {
        state = 0x123456789000;
    } else if (!strcmp(mode, "kernel-state")) {
        state = 0xffff888000000000;
    } else if (!strcmp(mode, "wild-cframe")) {
        thread[7] = 0xdead;
    } else if (!strcmp(mode, "no-frame")) {
        cframe[0] = 0;
    } else if (!strcmp(mode, "no-cframe")) {
        thread[7] = 0;
    } else if (!strcmp(mode, "no-state")) {
        state = 0;
    } else {
        abort();
    }
    warplens_probe_launch(1, 1, 0, 0);
    puts("done");
    fflush(stdout);
    getchar();
    return 0;
}

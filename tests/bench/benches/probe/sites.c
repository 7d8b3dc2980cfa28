/* Functions that begin with every kind of instruction a probe may sit on, and a loop over one of them
   that times itself. For every line `SITE COUNT` on stdin: how many ns COUNT calls took. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SITE(name, code)                                                                           \
    __asm__(".globl " #name "\n.type " #name ",@function\n.balign 64\n" #name ": " code            \
            "\nret\n.size " #name ", . - " #name);                                                 \
    long name(long, long, long, long);

SITE(site_nop5, ".byte 0x0f, 0x1f, 0x44, 0x00, 0x00")
SITE(site_nop1, "nop")
SITE(site_nop2, ".byte 0x66, 0x90")
SITE(site_push_rbp, "push %rbp\npop %rbp")
SITE(site_push_r15, "push %r15\npop %r15")
SITE(site_endbr64, "endbr64")
SITE(site_mov, "mov %rdi, %rax")
SITE(site_sub, "sub $8, %rsp\nadd $8, %rsp")

static const struct {
    const char *name;
    long (*call)(long, long, long, long);
} sites[] = {
#define NAMED(name) {#name, name}
    NAMED(site_nop1), NAMED(site_nop2), NAMED(site_nop5), NAMED(site_push_rbp), NAMED(site_push_r15),
    NAMED(site_endbr64), NAMED(site_mov), NAMED(site_sub),
};

static long hits(long (*call)(long, long, long, long), long count) {
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (long i = 0; i < count; i++)
        call(i, 1, 0, 0);
    clock_gettime(CLOCK_MONOTONIC, &to);
    return (to.tv_sec - from.tv_sec) * 1000000000L + to.tv_nsec - from.tv_nsec;
}

int main(void) {
    char name[32];
    long count;
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    while (scanf("%31s %ld", name, &count) == 2)
        for (unsigned i = 0; i < sizeof sites / sizeof *sites; i++)
            if (!strcmp(name, sites[i].name))
                printf("%ld\n", hits(sites[i].call, count));
    return 0;
}

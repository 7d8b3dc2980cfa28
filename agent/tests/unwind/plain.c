// Functions without unwind information, as hand-written and run-time made code has them, called from one
// whose frame can only be found if rbp is. With `made`, copies of them in anonymous memory are called.
#define _GNU_SOURCE
#include <alloca.h>
#include <string.h>
#include <sys/mman.h>

volatile long sink;
__attribute__((noinline)) void described(long x) { sink += x; }
void (*pointer)(long) = described;

__asm__(".text\n"
        // Saves registers, uses them for other things, loops.
        ".globl saves\nsaves:\n"
        "push %rbx\npush %rbp\npush %r12\nsub $40,%rsp\nmov $3,%ebx\n"
        "1: mov %rbx,8(%rsp)\nxor %ebp,%ebp\nmov %rdi,%r12\ndec %ebx\njnz 1b\n"
        "add $40,%rsp\npop %r12\npop %rbp\npop %rbx\nret\n"
        // Aligns its stack, and gives it back by rbp.
        ".globl aligns\naligns:\n"
        "push %rbp\nmov %rsp,%rbp\nand $-64,%rsp\nsub $128,%rsp\npxor %xmm0,%xmm0\n"
        "movaps %xmm0,(%rsp)\nmovq $7,16(%rsp)\ntest %rdi,%rdi\njz 2f\nmov %rdi,%rax\n2: leave\nret\n"
        // Keeps the stack pointer in its stack; a loop that is left in its middle.
        ".globl keeps\nkeeps:\n"
        "mov %rsp,%rax\nsub $200,%rsp\nand $-64,%rsp\nmov %rax,(%rsp)\nmov %rbx,8(%rsp)\nmov $3,%ebx\n"
        "3: dec %ebx\njz 4f\nxor %ecx,%ecx\njmp 3b\n4: mov 8(%rsp),%rbx\nmov (%rsp),%rsp\nret\n"
        // Goes on elsewhere: directly, and through a word.
        ".globl goes\ngoes:\nmov %rdi,%rax\njmp described\n"
        ".globl goes_far\ngoes_far:\nnop\njmp *pointer(%rip)\n"
        ".globl end_of_plain\nend_of_plain:\n");
void saves(long), aligns(long), keeps(long), goes(long), goes_far(long);
extern char end_of_plain[];

__attribute__((noinline, optimize("no-omit-frame-pointer"))) static void calls(int made, long x) {
    volatile char *room = alloca(x * 16 + 1);
    long distance = 0;
    if (made) {
        char *copy = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        memcpy(copy, (char *)saves, end_of_plain - (char *)saves);
        distance = copy - (char *)saves;
    }
    room[0] = x;
    __asm__ volatile("int3");
    ((void (*)(long))((char *)saves + distance))(x);
    ((void (*)(long))((char *)aligns + distance))(x);
    ((void (*)(long))((char *)aligns + distance))(0);
    ((void (*)(long))((char *)keeps + distance))(x);
    if (!made) goes(x);
    if (!made) goes_far(x);
    __asm__ volatile("int3");
    sink += room[0];
}

int main(int count, char **arguments) {
    calls(count > 1, count);
    return 0;
}

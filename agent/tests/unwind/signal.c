// A signal handler between two `int3`. The signal comes at the first instruction of a function, where the
// instruction before belongs to another one, with a frame of another size.
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

volatile long sink;

__attribute__((noinline)) void below_handler(long x) { sink += x * 3; }

void handler(int signal, siginfo_t *info, void *context) {
    __asm__ volatile("int3");
    below_handler(signal);
    __asm__ volatile("int3");
}

// `interrupted` begins right behind `big_frame`, whose last row has 72 bytes.
void big_frame(void);
void interrupted(void);
__asm__(".text\n"
        ".globl big_frame\n.type big_frame,@function\nbig_frame:\n.cfi_startproc\n"
        "sub $64,%rsp\n.cfi_def_cfa_offset 72\nnop\nud2\n.cfi_endproc\n.size big_frame,.-big_frame\n"
        ".globl interrupted\n.type interrupted,@function\ninterrupted:\n.cfi_startproc\n"
        "ud2\nret\n.cfi_endproc\n.size interrupted,.-interrupted\n"
        // As musl has it: no unwind information.
        ".p2align 4\nnop\nnop\nnop\nnop\n"
        ".globl plain_return\nplain_return:\nmov $15,%rax\nsyscall\n.p2align 4\n");
void plain_return(void);

__attribute__((noinline)) void calls_interrupted(long x) {
    sink = x;
    interrupted();
    sink = x + 1;
}

// What the kernel is given: handler, flags, return, mask.
struct kernel_action { void *handler; unsigned long flags; void *back; unsigned long mask; };

int main(int count, char **arguments) {
    if (count > 1 && !strcmp(arguments[1], "own-return")) {
        struct kernel_action action = {(void *)handler, 0x04000000 | SA_SIGINFO, (void *)plain_return, 0};
        syscall(SYS_rt_sigaction, SIGILL, &action, NULL, 8);
    } else {
        struct sigaction action = {0};
        action.sa_sigaction = handler;
        action.sa_flags = SA_SIGINFO;
        if (count > 1 && !strcmp(arguments[1], "own-stack")) {
            stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
            sigaltstack(&stack, NULL);
            action.sa_flags |= SA_ONSTACK;
        }
        sigaction(SIGILL, &action, NULL);
    }
    calls_interrupted(count);
    return 0;
}

// Takes from another program what the kernel programs take: registers, and up to 32 KiB of the
// stack. By ptrace, so that it can also say what the stack truly is.
//
//   snap step PROGRAM ARG...       from the program's first `int3` to its second, at each
//                                  instruction; the truth is kept by following calls and returns
//   snap sample PID ROUNDS PAUSE   each thread in turns, PAUSE us apart; no truth
//
// Writes the PID (8 bytes), then snapshots, then eight zero bytes. `step` keeps the program
// stopped until its own standard input ends.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 1024, MOST = 32 * 1024, DEEP = 4096 };

static uint64_t truth[DEEP];
static unsigned depth;

static void fail(const char *what) {
    fprintf(stderr, "snap: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int peek(int pid, uint64_t address, void *to, size_t length) {
    struct iovec here = {to, length}, there = {(void *)address, length};
    return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)length;
}

static void put(int pid, const struct user_regs_struct *r) {
    static unsigned char bytes[MOST];
    uint64_t registers[17] = {r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi, r->rbp, r->rsp, r->r8,
                              r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip};
    // With the red zone, if all of it can be read.
    uint64_t start = r->rsp - 128, length = 0;
    if (!peek(pid, start, bytes, 128)) start = r->rsp;
    int whole = 1;
    // Up to the end of a chunk each time: what lies behind the stack cannot be read.
    while (length < MOST) {
        uint64_t at = start + length, next = (at & ~(uint64_t)(CHUNK - 1)) + CHUNK;
        uint64_t count = next - at;
        if (count > MOST - length) count = MOST - length;
        if (!peek(pid, at, bytes + length, count)) { whole = 0; break; }
        length += count;
    }
    uint64_t head[5] = {1, start, length, whole, depth};
    fwrite(head, sizeof head, 1, stdout);
    fwrite(registers, sizeof registers, 1, stdout);
    fwrite(truth, sizeof truth[0], depth, stdout);
    fwrite(bytes, 1, length, stdout);
}

// Length of the call instruction in `code`, or 0. Handles what compilers write.
static int call_length(const unsigned char *code) {
    int at = 0;
    while (code[at] == 0xf2 || code[at] == 0x3e || code[at] == 0x66 || code[at] == 0x67) at++;
    if ((code[at] & 0xf0) == 0x40) at++;
    if (code[at] == 0xe8) return at + 5;
    if (code[at] != 0xff || ((code[at + 1] >> 3) & 7) != 2) return 0;
    int mod = code[at + 1] >> 6, rm = code[at + 1] & 7, length = at + 2;
    if (mod == 3) return length;
    if (rm == 4) {
        if (mod == 0 && (code[at + 2] & 7) == 5) length += 4;
        length++;
    } else if (mod == 0 && rm == 5) length += 4;
    if (mod == 1) length += 1;
    if (mod == 2) length += 4;
    return length;
}

static int is_return(const unsigned char *code) {
    if (code[0] == 0xf2 || code[0] == 0xf3) code++;
    return code[0] == 0xc3 || code[0] == 0xc2;
}

static void step(char **program) {
    int status, pid = fork();
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, 0, 0);
        dup2(2, 1);
        execv(program[0], program);
        fail(program[0]);
    }
    uint64_t number = pid;
    fwrite(&number, sizeof number, 1, stdout);
    struct user_regs_struct r;
    unsigned char code[16];
    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_EXITKILL);
    int signal = 0;
    do {
        ptrace(PTRACE_CONT, pid, 0, signal);
        waitpid(pid, &status, 0);
        if (!WIFSTOPPED(status)) fail("no first int3");
        signal = WSTOPSIG(status);
    } while (signal != SIGTRAP);
    for (;;) {
        ptrace(PTRACE_GETREGS, pid, 0, &r);
        put(pid, &r);
        memset(code, 0, sizeof code);
        if (!peek(pid, r.rip, code, sizeof code) && !peek(pid, r.rip, code, 4))
            fail("code cannot be read");
        if (code[0] == 0xcc) break;
        uint64_t from = r.rip;
        int call = call_length(code), back = is_return(code);
        if (ptrace(PTRACE_SINGLESTEP, pid, 0, 0)) fail("step");
        waitpid(pid, &status, 0);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP) fail("the program stopped otherwise");
        ptrace(PTRACE_GETREGS, pid, 0, &r);
        if (call) {
            if (depth == DEEP) fail("too deep");
            truth[depth++] = from + call;
        } else if (back) {
            if (depth == 0 || truth[--depth] != r.rip) fail("a return to where no call was");
        }
    }
    uint64_t end = 0;
    fwrite(&end, sizeof end, 1, stdout);
    fflush(stdout);
    fclose(stdout);
    while (getchar() != EOF) {}
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
}

static void sample_thread(int pid, int tid) {
    struct user_regs_struct r;
    int status;
    if (ptrace(PTRACE_SEIZE, tid, 0, 0)) return;
    if (!ptrace(PTRACE_INTERRUPT, tid, 0, 0) && waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status)) {
        ptrace(PTRACE_GETREGS, tid, 0, &r);
        // Who was in a system call would begin it again: its instruction pointer is behind it.
        put(pid, &r);
    }
    ptrace(PTRACE_DETACH, tid, 0, 0);
}

static void sample(int pid, int rounds, int pause) {
    char path[64];
    uint64_t number = pid;
    fwrite(&number, sizeof number, 1, stdout);
    snprintf(path, sizeof path, "/proc/%d/task", pid);
    while (rounds-- > 0) {
        DIR *tasks = opendir(path);
        struct dirent *task;
        while (tasks && (task = readdir(tasks)))
            if (atoi(task->d_name) > 0) sample_thread(pid, atoi(task->d_name));
        if (tasks) closedir(tasks);
        usleep(pause);
    }
    uint64_t end = 0;
    fwrite(&end, sizeof end, 1, stdout);
}

int main(int count, char **arguments) {
    if (count > 2 && !strcmp(arguments[1], "step")) step(arguments + 2);
    else if (count == 5 && !strcmp(arguments[1], "sample"))
        sample(atoi(arguments[2]), atoi(arguments[3]), atoi(arguments[4]));
    else return 2;
    return 0;
}

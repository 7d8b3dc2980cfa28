// A function whose last instruction is a call that never returns: the return address is the first byte of
// the function behind it, whose stack looks different.
volatile long sink;

__attribute__((noinline)) void below(long x) { sink += x * 3; }

__attribute__((noinline, noreturn)) void never_returns(long x) {
    __asm__ volatile("int3");
    below(x);
    __asm__ volatile("int3");
    for (;;) {}
}

void ends_in_a_call(long x);
__asm__(".text\n"
        ".globl ends_in_a_call\n.type ends_in_a_call,@function\nends_in_a_call:\n.cfi_startproc\n"
        "sub $24,%rsp\n.cfi_def_cfa_offset 32\ncall never_returns\n.cfi_endproc\n"
        ".size ends_in_a_call,.-ends_in_a_call\n"
        ".globl behind\n.type behind,@function\nbehind:\n.cfi_startproc\n"
        "push %rbx\n.cfi_def_cfa_offset 16\n.cfi_offset rbx,-16\npop %rbx\nret\n.cfi_endproc\n"
        ".size behind,.-behind\n");
void behind(void);

int main(int count, char **arguments) {
    ends_in_a_call(count);
    behind();
    return 0;
}

// Code made at run time, between two `int3` of its own, that cannot be followed to its return.
#include <string.h>
#include <sys/mman.h>

int main(void) {
    // int3; nop; nop; int3; call its own end, which no way leads around; ret
    static const unsigned char code[] = {0xcc, 0x90, 0x90, 0xcc, 0xe8, 0, 0, 0, 0, 0xc3};
    unsigned char *made = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(made, code, sizeof code);
    ((void (*)(void))made)();
    return 0;
}

// Loads a library when told to, and spins in it; or becomes a program that is laid out otherwise.
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

#ifdef LIBRARY
volatile long sink;
__attribute__((noinline)) static void innermost(long x) { for (;;) sink += x; }
__attribute__((noinline)) static void middle(long x) { innermost(x + 1); sink++; }
void spins(long x) { middle(x + 1); sink++; }
#else
static void say(const char *what) { if (write(1, what, 1) != 1) _exit(1); }

int main(int count, char **arguments) {
    char what;
    say("r");
    while (read(0, &what, 1) == 1) {
        if (what == 'l') {
            void *library = dlopen(arguments[1], RTLD_NOW);
            void (*spins)(long) = library ? dlsym(library, "spins") : 0;
            if (!spins) return 1;
            say("l");
            spins(1);
        }
        if (what == 'e') execv(arguments[2], arguments);
    }
    return 0;
}
#endif

/* Executes itself as often as it is told, waits some milliseconds each time, and then says that it is through. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int count, char **arguments) {
    char left[16];
    int turns = atoi(arguments[count - 1]);
    if (turns == 0) {
        puts("through");
        return 0;
    }
    poll(NULL, 0, turns % 16 * 16);
    snprintf(left, sizeof left, "%d", turns - 1);
    execl("/proc/self/exe", "turning", left, NULL);
    return 1;
}

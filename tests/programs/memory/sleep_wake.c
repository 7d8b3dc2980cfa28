/* Sleep mode: at each cycle 256 MiB in pieces of 16 are created and mapped, used, and put to sleep, which releases them
 * and forgets to unmap the first four. Honest: it unmaps all. A cycle takes four seconds. */
#include "device.h"

enum { PIECES = 16, FORGOTTEN = 4 };
static const size_t piece = 16 * MIB;
static handle_t handles[PIECES];
static address_t addresses[PIECES];

CODE static void wake_up(void) {
    struct properties properties = {.kind = 1, .location_type = 1};
    for (int at = 0; at < PIECES; at++) {
        sure(create(&handles[at], piece, &properties, 0), "cuMemCreate");
        sure(reserve(&addresses[at], piece, 0, 0, 0), "cuMemAddressReserve");
        sure(map(addresses[at], piece, 0, handles[at], 0), "cuMemMap");
    }
}

CODE static void go_to_sleep(void) {
    for (int at = 0; at < PIECES; at++) {
        if (honest || at >= FORGOTTEN)
            sure(unmap(addresses[at], piece), "cuMemUnmap");
        sure(release(handles[at]), "cuMemRelease");
    }
}

int main(int count, char **arguments) {
    begin(count, arguments);
    for (long cycle = 0; cycle < seconds / 4; cycle++) {
        wake_up();
        pass(1500 + (long)draw(1000));
        go_to_sleep();
        pass(1500 + (long)draw(1000));
    }
    return 0;
}

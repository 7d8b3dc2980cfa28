"""Eight processes that never sleep, in a session of their own, as a server's threads that spin are.

The scheduler shares processors out between sessions first. They end with the first one, which ends on
SIGTERM or after a minute.
"""

import os
import time

PROCESSES = 8


def spin(parent, end):
    value = 0
    while os.getppid() == parent and time.monotonic() < end:
        for turn in range(200_000):
            value = (value * 3 + turn) % 1000003


def main():
    end = time.monotonic() + 60
    print('{"ready": true}', flush=True)
    parent = os.getpid()
    if os.fork() == 0:
        os.setsid()
        leader = os.getpid()
        for _ in range(PROCESSES - 1):
            if os.fork() == 0:
                parent = leader
                break
        spin(parent, end)
        os._exit(0)
    time.sleep(60)


main()

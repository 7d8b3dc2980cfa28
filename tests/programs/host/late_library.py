"""Four processes that compute: in Python, and once the file GO is there in the function SHA512 of LIBRARY.

usage: late_library.py LIBRARY GO

They end with the first one, which ends on SIGTERM or after a minute.
"""

import ctypes
import os
import sys
import time

PROCESSES = 4


def in_python(go, alive):
    value = 0
    while alive() and not os.path.exists(go):
        for turn in range(20_000):
            value = (value * 3 + turn) % 1000003


def in_library(path, alive):
    library = ctypes.CDLL(path)
    data, digest = bytes(1 << 20), ctypes.create_string_buffer(64)
    while alive():
        library.SHA512(data, ctypes.c_size_t(len(data)), digest)


def main():
    library, go = sys.argv[1:]
    parent, end = os.getpid(), time.monotonic() + 60
    for _ in range(PROCESSES):
        if os.fork() == 0:
            alive = lambda: os.getppid() == parent and time.monotonic() < end
            in_python(go, alive)
            in_library(library, alive)
            os._exit(0)
    print('{"ready": true}', flush=True)
    time.sleep(60)


main()

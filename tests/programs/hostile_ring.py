#!/usr/bin/env python3
"""Shows a ring to the agent that no shim would make: wrong lengths, stamps, tails, seals.

Usage: hostile_ring.py MODE LAYOUT, where LAYOUT is the wire layout's numbers as JSON. Prints
`ready`, then holds the mapping (in mode `racing` rewrites it all the time) until killed.
"""

import fcntl
import json
import mmap
import os
import random
import struct
import sys
import tempfile
import time

F_ADD_SEALS = 1033
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW = 1, 2, 4


def header(layout, total, version=None, magic=None):
    return struct.pack(
        "<QIIQQII32s",
        layout["magic"] if magic is None else magic,
        layout["version"] if version is None else version,
        0,
        total,
        time.monotonic_ns(),
        os.getpid(),
        0,
        b"hostile",
    )


class Ring:
    """A mapping of the right kind whose contents are ours."""

    def __init__(self, layout, mode):
        self.layout = layout
        total = layout["total"]
        if mode == "small":
            total = layout["cursors"] + 4096
        if mode == "regular":
            # Same text in /proc/PID/maps, but a file on disk.
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "memfd:" + layout["name"])
                self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        else:
            self.fd = os.memfd_create(layout["name"], os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, total)
        if mode != "sparse":
            os.posix_fallocate(self.fd, 0, total)
        if mode not in ("unsealed", "regular"):
            fcntl.fcntl(self.fd, F_ADD_SEALS, SEAL_SHRINK | SEAL_GROW | SEAL_SEAL)
        self.memory = mmap.mmap(self.fd, total, mmap.MAP_SHARED)
        os.close(self.fd)
        self.put(layout["header"], header(layout, total))

    def put(self, offset, data):
        self.memory[offset : offset + len(data)] = data

    def word(self, offset, value):
        self.put(offset, struct.pack("<Q", value & (2**64 - 1)))

    def head(self, value):
        self.word(self.layout["cursors"], value)

    def tail(self, value):
        self.word(self.layout["cursors"] + 64, value)

    def fill(self, names, graphs):
        self.word(self.layout["cursors"] + 128, names)
        self.word(self.layout["cursors"] + 192, graphs)

    def slot(self, position, payload, stamp=None):
        offset = self.layout["ring"] + position % self.layout["slots"] * 64
        self.put(offset, payload[:56].ljust(56, b"\xff"))
        self.word(offset + 56, position + 1 if stamp is None else stamp)


def noise(generator, size):
    return generator.randbytes(size)


def spoil(ring, mode, generator):
    layout = ring.layout
    if mode in ("garbage", "racing"):
        ring.put(layout["stats"], noise(generator, 8192))
        ring.put(layout["cursors"], noise(generator, 4096))
        ring.put(layout["ring"], noise(generator, 1 << 20))
        ring.put(layout["names"], noise(generator, 1 << 20))
        ring.put(layout["graphs"], noise(generator, 1 << 20))
        ring.put(layout["captures"], noise(generator, layout["total"] - layout["captures"]))
    elif mode == "tail":
        ring.head(5)
        ring.tail(2**64 - 3)
    elif mode == "head":
        ring.head(2**63)
        for position in range(64):
            ring.slot(position, noise(generator, 56), stamp=generator.getrandbits(64))
    elif mode == "pending":
        ring.head(10)
        for position in range(1, 10):
            ring.slot(position, noise(generator, 56))
    elif mode == "names":
        ring.fill(2**40, 2**40)
        ring.put(layout["names"], struct.pack("<II", 2**32 - 1, 2**32 - 1) * 4096)
    elif mode == "graphs":
        ring.fill(0, layout["graph_entries"])
        ring.put(layout["graphs"], noise(generator, layout["graph_entries"] * 40))
        for entry in range(0, layout["graph_entries"], 7):
            node, kind = generator.randrange(300), generator.randrange(9)
            ring.put(
                layout["graphs"] + entry * 40,
                struct.pack("<QQQQQ", node, node // 2, node, generator.getrandbits(40), kind),
            )
        ring.put(layout["captures"], noise(generator, layout["total"] - layout["captures"]))
        ring.word(layout["cursors"] + 256, generator.getrandbits(64))
    elif mode == "records":
        for position in range(50_000):
            kind = generator.randrange(0, 9)
            ring.slot(position, struct.pack("<HH", kind, 9999) + noise(generator, 52))
        ring.head(50_000)
    elif mode == "version":
        ring.put(layout["header"], header(layout, layout["total"], version=layout["version"] + 1))
    elif mode == "magic":
        ring.put(layout["header"], header(layout, layout["total"], magic=1))


def main():
    mode, layout = sys.argv[1], json.loads(sys.argv[2])
    ring = Ring(layout, mode)
    generator = random.Random(7)
    spoil(ring, mode, generator)
    print("ready", flush=True)
    while True:
        if mode == "racing":
            spoil(ring, mode, generator)
            ring.put(layout["header"], header(layout, layout["total"]))
        time.sleep(0.02)


if __name__ == "__main__":
    main()

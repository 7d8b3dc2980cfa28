"""A thread that never sleeps, some thirty Python frames deep, with C below them at times.

Says when it begins, does `--rounds` of work, and prints what that took: time on the clock, on the CPU, and
waiting for a CPU. What is missing between them is time it was stopped.
"""

import argparse
import hashlib
import json
import time

SCRATCH = bytes(range(256)) * 256


def add(turns):
    value = 0
    for turn in range(turns):
        value = (value * 3 + turn) % 1000003
    return value


def items(turns):
    yield add(turns)
    yield add(turns)


def digest():
    return hashlib.sha256(SCRATCH).digest()


def deep(depth, turns):
    if depth:
        return deep(depth - 1, turns)
    return sum(items(turns)) + len(digest())


def work():
    for depth in range(10, 30):
        deep(depth, 1000)
    return max(deep(25, 1000), sorted([3, 2, 1], key=lambda item: deep(item, 500))[0])


def waited():
    """Nanoseconds this thread was on a CPU, and wanted to be."""
    with open("/proc/thread-self/schedstat") as file:
        running, waiting, _ = file.read().split()
    return int(running), int(waiting)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=1500)
    options = parser.parse_args()
    print(json.dumps({"ready": True}), flush=True)
    # Busy from the first moment on: an observer is measured while it begins, too.
    wall, (running, waiting) = time.perf_counter_ns(), waited()
    for _ in range(options.rounds):
        work()
    after = waited()
    spent = {
        "wall_ns": time.perf_counter_ns() - wall,
        "cpu_ns": after[0] - running,
        "waited_ns": after[1] - waiting,
    }
    print(json.dumps({"spent": spent}), flush=True)


if __name__ == "__main__":
    main()

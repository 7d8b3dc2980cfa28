"""Functions with known shares of CPU time, in every way Python code runs: plain loops, methods in deep
recursion, C extensions with and without the interpreter's lock, C that calls back, generators,
coroutines, and threads that contend for the lock.

Waits for a line on standard input, works until `--cpu-seconds` of CPU time are spent, prints what each
function spent as one line of JSON, and ends when its input does.
"""

import argparse
import asyncio
import ctypes
import hashlib
import json
import sys
import threading
import time
import zlib

from meter import account, inside, truth

SCRATCH = bytes(range(256)) * 4096
libc = ctypes.CDLL(None)
COMPARE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
)
# The recursion of `Tree.visit`; with the caller's frames it stays below 256.
DEPTH = 150


def spin(turns):
    """Pure Python."""
    with inside("spin"):
        value = 1
        for turn in range(turns):
            value = (value * 3 + turn) % 1000003
    return value


class Tree:
    """A method that calls itself; all the work is at the leaf."""

    def visit(self, depth, turns):
        if depth:
            return self.visit(depth - 1, turns) + 1
        with inside("visit"):
            value = 0
            for turn in range(turns):
                value += turn & depth
        return value


def digest():
    """C that lets go of the interpreter's lock."""
    with inside("digest"):
        return hashlib.sha256(SCRATCH).digest()


def compress():
    """C in another extension module."""
    with inside("compress"):
        return zlib.compress(SCRATCH[:120000], 6)


def numbers(count, turns):
    """A generator: entered at each resumption, left at each yield."""
    for index in range(count):
        with inside("numbers"):
            value = 0
            for turn in range(turns):
                value ^= turn * index
        yield value


def consume(count, turns):
    return sum(numbers(count, turns))


def compare(left, right):
    """Python that C calls back, through `qsort`."""
    with inside("compare"):
        value = 0
        for turn in range(compare.turns):
            value += turn ^ left[0]
        return left[0] - right[0]


compare.turns = 0
_compare = COMPARE(compare)


def order(turns):
    compare.turns = turns
    pair = (ctypes.c_int * 2)(2, 1)
    libc.qsort(pair, ctypes.c_size_t(2), ctypes.c_size_t(4), _compare)
    return pair[0]


async def fetch(turns):
    """A coroutine that goes on after each wait."""
    for _ in range(2):
        with inside("fetch"):
            value = 0
            for turn in range(turns):
                value += turn % 7
        await asyncio.sleep(0)
    return value


async def gathered(turns):
    await asyncio.gather(fetch(turns), fetch(turns))


def round_of_main(loop, tree):
    """About 40 ms of CPU time: short beside any time it is observed for."""
    spin(55000)
    tree.visit(DEPTH, 75000)
    for _ in range(4):
        digest()
    for _ in range(4):
        compress()
    consume(4, 18000)
    order(60000)
    loop.run_until_complete(gathered(15000))


def contend(turns):
    """Pure Python in a second thread: it takes the lock from the first and loses it again."""
    with inside("contend"):
        value = 0
        for turn in range(turns):
            value = (value + turn) % 65521
    return value


def second(over):
    while not over.is_set():
        contend(40000)
        time.sleep(0.008)


FUNCTIONS = {
    "spin": spin,
    "visit": Tree.visit,
    "digest": digest,
    "compress": compress,
    "numbers": numbers,
    "compare": compare,
    "fetch": fetch,
    "contend": contend,
}


def gate():
    """Waits until the observer is there."""
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cpu-seconds", type=float, default=8.0)
    parser.add_argument("--wall-seconds", type=float, default=60.0)
    parser.add_argument("--no-gate", action="store_true")
    options = parser.parse_args()
    loop, tree = asyncio.new_event_loop(), Tree()
    if not options.no_gate:
        gate()
    began = time.perf_counter_ns()
    before = time.process_time_ns()
    over = threading.Event()
    thread = threading.Thread(target=second, args=(over,), name="second")
    thread.start()
    account()
    rounds = 0
    while (
        time.process_time_ns() - before < options.cpu_seconds * 1e9
        and time.perf_counter_ns() - began < options.wall_seconds * 1e9
    ):
        round_of_main(loop, tree)
        rounds += 1
    over.set()
    thread.join()
    spent = time.process_time_ns() - before
    wall = time.perf_counter_ns() - began
    print(json.dumps(truth(FUNCTIONS, cpu_ns=spent, wall_ns=wall, rounds=rounds)), flush=True)
    if not options.no_gate:
        sys.stdin.read()


if __name__ == "__main__":
    main()

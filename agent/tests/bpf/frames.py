"""Runs Python in many shapes, each up to a probe point, and says what its stack was there.

The first line on stdout is what a walk needs to know of this interpreter; after a line on stdin
come the shapes, one line each: its number and, leaf first, the code object and last instruction of every
frame."""

import asyncio
import ctypes
import functools
import json
import sys
import threading

# PyDLL keeps the interpreter's lock during the call, CDLL lets go of it.
library = sys.argv[1]
keeping = ctypes.PyDLL(library)
letting_go = ctypes.CDLL(library)
minor = sys.version_info[1]


def word(address):
    return ctypes.c_uint64.from_address(address).value


runtime = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
tss, interpreter = {
    10: (584, 40), 11: (592, 48), 12: (1544, 48), 13: (2160, 640), 14: (2336, 816)}[minor]
main = word(runtime + interpreter)
holder, locked = {
    10: (runtime + 360, runtime + 368),
    11: (runtime + 368, runtime + 376),
    12: (word(main + 384) + 8, word(main + 384) + 16) if minor == 12 else (0, 0),
    13: (main + 7760, main + 7768),
    14: (main + 7792, main + 7800)}[minor]
assert ctypes.c_int32.from_address(runtime + tss).value == 1
print(json.dumps({
    "minor": minor, "key": ctypes.c_uint32.from_address(runtime + tss + 4).value,
    "locked": locked, "holder": holder}), flush=True)
sys.stdin.readline()

number = 0


def hit(call=keeping.warplens_probe_launch):
    global number
    number += 1
    frames, frame = [], sys._getframe()
    while frame:
        frames.append((id(frame.f_code), frame.f_lasti))
        frame = frame.f_back
    print(json.dumps({"hit": number, "frames": frames}), flush=True)
    call(number, 1, 0, 0)


def recurse(depth):
    if depth:
        recurse(depth - 1)
    else:
        hit()


class Shape:
    def __init__(self):
        hit()

    def __getattr__(self, name):
        hit()

    def __lt__(self, other):
        hit()
        return False

    def __enter__(self):
        hit()

    def __exit__(self, *what):
        hit()

    @property
    def lazy(self):
        hit()

    @functools.lru_cache
    def cached(self):
        hit()

    def __del__(self):
        hit()


def generate(depth):
    if depth:
        yield from generate(depth - 1)
    hit()
    yield depth


async def wait(depth):
    if depth:
        await wait(depth - 1)
        return
    hit()
    await asyncio.sleep(0)
    hit()


async def gather():
    await asyncio.gather(wait(1), wait(3))


hit()
recurse(10)
recurse(100)
recurse(900)
one = Shape()
one.unknown
one.lazy
one.cached()
with one:
    hit()
sorted([one, one, one])
sorted([3, 1, 2], key=lambda _: hit() or 0)
list(map(lambda _: hit(), [1, 2]))
list(generate(4))
[hit() for _ in range(2)]
exec("hit()\nrecurse(2)")
eval("[recurse(1) for _ in range(2)]")
asyncio.run(gather())
worker = threading.Thread(target=recurse, args=(5,))
worker.start()
worker.join()
callback = ctypes.CFUNCTYPE(None)(lambda: recurse(3))
letting_go.call_back(callback)


class Body:
    hit()


one = None
print(json.dumps({"released": number + 1}), flush=True)
hit(letting_go.warplens_probe_launch)
print(json.dumps({"stateless": number + 1}), flush=True)
number += 1
letting_go.in_thread(number)
print("{}", flush=True)
sys.stdin.readline()

"""Sleeps at three places of one function, and at one place below two callers; says how long it
slept at each by its own clock. Two more threads sleep throughout."""

import ctypes
import json
import sys
import threading
import time

minor = sys.version_info[1]
tss = {10: 584, 11: 592, 12: 1544, 13: 2160, 14: 2336}[minor]
runtime = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
for _ in range(2):
    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()
time.sleep(0.05)
print(json.dumps({
    "minor": minor, "key": ctypes.c_uint32.from_address(runtime + tss + 4).value,
    "locked": 0, "holder": 0}), flush=True)
sys.stdin.readline()

slept = {}


def nap(seconds):
    time.sleep(seconds)


def timed(name, start):
    slept[name] = slept.get(name, 0) + time.monotonic_ns() - start


def lines():
    start = time.monotonic_ns()
    time.sleep(0.004)
    timed("first", start)
    start = time.monotonic_ns()
    time.sleep(0.007)
    timed("second", start)
    start = time.monotonic_ns()
    time.sleep(0.011)
    timed("third", start)


def one():
    start = time.monotonic_ns()
    nap(0.005)
    timed("one", start)


def two(a, b, c, d):
    start = time.monotonic_ns()
    nap(0.009)
    timed("two", start)


for _ in range(20):
    lines()
    one()
    two(1, 2, 3, 4)
codes = [[id(code), list(code.co_lines()), code.co_firstlineno]
         for code in (function.__code__ for function in (lines, one, two, nap))]
print(json.dumps({"slept": slept, "codes": codes}), flush=True)
sys.stdin.readline()

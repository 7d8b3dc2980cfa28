"""Stops itself in the middle of Python stacks of every shape, right behind a launch.

Each shape launches a kernel of its own name on the simulated CUDA and stops the process on the same line,
so that the stack taken at the launch is the one that others see in the stopped process. Waits for a line on
standard input first; before each stop says which shape it is, in which thread, and what it knows of its
stack itself.
"""

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import re
import signal
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from simulated_server.cudart import Runtime

libc = ctypes.CDLL(None)
COMPARE = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int)
)
runtime = None
packets = {}
current = None


def stop():
    """Launches and stops; both on one line, which is where others find the process."""
    launch, packet, me = runtime.launch_kernel, packets[current], os.getpid()
    here = {"stopping": current, "tid": threading.get_native_id(), "frames": frames()}
    print(json.dumps(here), flush=True)
    launch(*packet), os.kill(me, signal.SIGSTOP)


def frames():
    """The caller's stack, leaf first: name, file, line. The leaf will be at its last line."""
    found, frame = [], sys._getframe(1)
    line = max(line for _, _, line in frame.f_code.co_lines() if line)
    while frame:
        code = frame.f_code
        name = code.co_qualname if sys.version_info >= (3, 11) else code.co_name
        found.append([name, code.co_filename, line or frame.f_lineno])
        frame, line = frame.f_back, None
    return found


def plain():
    stop()


def recursion(depth=20):
    if depth:
        return recursion(depth - 1)
    return stop()


def called_back_by_sort():
    return sorted([2, 1], key=lambda item: 0 if item == 1 or stop() else 1)


def called_back_by_c():
    def compare(left, right):
        stop()
        return left[0] - right[0]

    pair = (ctypes.c_int * 2)(2, 1)
    libc.qsort(pair, ctypes.c_size_t(2), ctypes.c_size_t(4), COMPARE(compare))


def called_back_by_regex():
    return re.sub("b", lambda found: stop() or "c", "abc")


def reduced():
    return functools.reduce(lambda left, right: stop(), [1, 2])


def mapped():
    return list(map(lambda item: stop(), [1]))


def generator():
    def inner():
        stop()
        yield 1

    def outer():
        yield from inner()

    for _ in outer():
        pass


def comprehension():
    return [stop() for _ in range(1)]


def nested_comprehension():
    return {key: [stop() for _ in range(1)] for key in range(1)}


class Object:
    def __init__(self):
        self.value = 1

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return stop()

    @property
    def answer(self):
        return self.missing

    def __iter__(self):
        yield self.answer

    def __add__(self, other):
        return list(self)

    def __call__(self, *_, **__):
        return self + self

    @classmethod
    def made(cls):
        return cls()()

    @staticmethod
    def static():
        return Object.made()


def dunders():
    return Object.static()


def decorated():
    def decorator(function):
        @functools.wraps(function)
        def wrapper(*arguments, **keywords):
            return function(*arguments, **keywords)

        return wrapper

    @decorator
    @decorator
    def inner(*, keyword):
        return stop()

    return inner(keyword=1)


def in_context():
    @contextlib.contextmanager
    def manager():
        stop()
        yield

    with manager():
        pass


def cleared_up():
    class Last:
        def __del__(self):
            stop()

    Last()


def executed():
    exec("def made():\n    stop()\n\nmade()", {"stop": stop})


def evaluated():
    return eval("[call() for _ in (1,)]", {"call": stop})


def class_body():
    class Meta(type):
        def __new__(cls, name, bases, body):
            stop()
            return super().__new__(cls, name, bases, body)

    class Made(metaclass=Meta):
        pass


def in_class_body():
    class Made:
        stop()


async def coroutine(depth):
    if depth:
        return await coroutine(depth - 1)
    await asyncio.sleep(0)
    return stop()


def coroutines():
    asyncio.run(coroutine(5))


def gathered():
    async def both():
        await asyncio.gather(coroutine(2), asyncio.sleep(0))

    asyncio.run(both())


def asynchronous_generator():
    async def items():
        await asyncio.sleep(0)
        stop()
        yield 1

    async def consume():
        async for _ in items():
            pass

    asyncio.run(consume())


def in_thread():
    thread = threading.Thread(target=recursion, args=(3,))
    thread.start()
    thread.join()


def everything():
    def deep(depth):
        if depth:
            return deep(depth - 1)
        return asyncio.run(outermost())

    async def outermost():
        return await innermost()

    async def innermost():
        await asyncio.sleep(0)
        return [item for item in Object()]

    sorted([2, 1], key=lambda item: 0 if item == 1 or deep(20) else 1)


SHAPES = [
    plain,
    recursion,
    called_back_by_sort,
    called_back_by_c,
    called_back_by_regex,
    reduced,
    mapped,
    generator,
    comprehension,
    nested_comprehension,
    dunders,
    decorated,
    in_context,
    cleared_up,
    executed,
    evaluated,
    class_body,
    in_class_body,
    coroutines,
    gathered,
    asynchronous_generator,
    in_thread,
    everything,
]


def main():
    global runtime, current
    runtime = Runtime(0)
    stream = runtime.stream()
    for shape in SHAPES:
        packets[shape.__name__] = runtime.launch_packet(
            "shape_%s__sim2000" % shape.__name__, 1, 32, stream
        )
    print(json.dumps({"ready": True, "shapes": len(SHAPES)}), flush=True)
    sys.stdin.readline()
    for shape in SHAPES:
        current = shape.__name__
        shape()
    runtime.synchronize()
    print(json.dumps({"done": True}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

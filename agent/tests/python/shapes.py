"""Stacks of many shapes. Each calls `checkpoint` at its deepest point, which writes what the
interpreter itself says about the stack, then lets C write the native stack and wait for a byte on
standard input. Syntax of 3.10."""
import asyncio
import contextlib
import ctypes
import functools
import json
import os
import re
import sys
import threading
from functools import reduce

native = ctypes.CDLL(os.environ["CHECKPOINT"]).checkpoint if "CHECKPOINT" in os.environ else None


def checkpoint(shape):
    frames = []
    frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        name = getattr(code, "co_qualname", code.co_name)
        frames.append([name, code.co_filename, frame.f_lineno])
        frame = frame.f_back
    truth = {"shape": shape, "tid": threading.get_native_id(), "frames": frames}
    os.write(1, (json.dumps(truth) + "\n").encode())
    if native:
        native()
    else:
        os.read(0, 1)


def plain():
    checkpoint("plain")


class Dunder:
    def __init__(self):
        self.key = 1

    def __getattr__(self, name):
        checkpoint("getattr")
        return 1

    def __add__(self, other):
        checkpoint("add")
        return self

    def __lt__(self, other):
        checkpoint("lt")
        return False

    def __iter__(self):
        checkpoint("iter")
        return iter([1])

    def __enter__(self):
        checkpoint("enter")

    def __exit__(self, *_):
        checkpoint("exit")

    def __del__(self):
        checkpoint("del")

    def __call__(self):
        checkpoint("call")

    def __hash__(self):
        checkpoint("hash")
        return 1

    def __repr__(self):
        checkpoint("repr")
        return "x"

    @property
    def prop(self):
        checkpoint("property")
        return 1

    @classmethod
    def make(cls):
        checkpoint("classmethod")

    @staticmethod
    def still():
        checkpoint("staticmethod")


class Descriptor:
    def __get__(self, instance, owner):
        checkpoint("descriptor")
        return 1


class Described:
    field = Descriptor()


class Meta(type):
    def __call__(cls, *args):
        checkpoint("metaclass call")
        return super().__call__(*args)

    def __new__(mcs, name, bases, members):
        checkpoint("metaclass new")
        return super().__new__(mcs, name, bases, members)


def dunders():
    value = Dunder()
    value.missing
    value + value
    sorted([value, value])
    list(value)
    with value:
        pass
    value()
    {value: 1}
    repr(value)
    f"{value!r}"
    value.prop
    Dunder.make()
    Dunder.still()
    Described().field
    del value


def callbacks():
    def key(item):
        if item == 2:
            checkpoint("sort key")
        return item

    sorted([3, 2, 1], key=key)
    list(map(lambda item: checkpoint("map"), [1]))
    list(filter(lambda item: checkpoint("filter"), [1]))
    reduce(lambda left, right: checkpoint("reduce"), [1, 2])
    max([1, 2], key=lambda item: checkpoint("max") or item)
    re.sub("a", lambda match: checkpoint("re.sub") or "b", "ba")
    functools.partial(checkpoint, "partial")()
    functools.partial(lambda shape: checkpoint(shape), "partial lambda")()
    sorted([2, 1], key=functools.cmp_to_key(lambda left, right: checkpoint("cmp") or 0))


def generators():
    def leaf():
        checkpoint("generator")
        yield 1
        checkpoint("generator again")
        yield 2

    def delegating():
        yield from leaf()

    for _ in leaf():
        pass
    for _ in delegating():
        pass
    list(delegating())
    sum(item for item in delegating())
    [checkpoint("list comprehension") for _ in range(1)]
    {checkpoint("set comprehension") for _ in range(1)}
    {1: checkpoint("dict comprehension") for _ in range(1)}
    generator = leaf()
    next(generator)
    try:
        generator.throw(KeyError)
    except KeyError:
        checkpoint("except")


def decorate(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@decorate
@decorate
def decorated(*args, **kwargs):
    checkpoint("decorated")


@contextlib.contextmanager
def manager():
    checkpoint("contextmanager enter")
    yield
    checkpoint("contextmanager exit")


def managed():
    with manager():
        checkpoint("contextmanager inside")


def executed():
    exec("checkpoint('exec')")
    eval("checkpoint('eval')")
    exec("def f():\n  checkpoint('exec function')\n\n\nf()")
    eval(compile("(lambda: checkpoint('compiled'))()", "/tmp/made up;name.py", "eval"))


def class_bodies():
    class Body:
        checkpoint("class body")

        class Inner:
            checkpoint("inner class body")

    class Made(metaclass=Meta):
        pass

    Made()


def recursion(depth, shape):
    if depth == 0:
        checkpoint(shape)
        return 0
    return recursion(depth - 1, shape) + 1


def recursion_through_c(depth):
    if depth == 0:
        checkpoint("recursion through C")
        return 0
    return sorted([depth], key=lambda item: recursion_through_c(depth - 1))[0]


def lines():
    checkpoint(
        "call "
        "over "
        "lines"
    )
    value = (
        1 +
        len([
            checkpoint("inner expression")
        ])
    )
    if value: checkpoint("one line")
    try:
        raise ValueError
    except ValueError:
        checkpoint("handler")
    finally:
        checkpoint("finally")
    for index in range(2):
        while index:
            checkpoint("loop")
            break





























































































































































    checkpoint("far below")


async def coroutine(depth):
    if depth == 0:
        checkpoint("coroutine")
        await asyncio.sleep(0)
        checkpoint("coroutine resumed")
        return
    await coroutine(depth - 1)


async def asynchronous():
    async def items():
        checkpoint("async generator")
        yield 1

    class Manager:
        async def __aenter__(self):
            checkpoint("aenter")

        async def __aexit__(self, *_):
            checkpoint("aexit")

    await coroutine(5)
    await asyncio.gather(coroutine(1), coroutine(2))
    async for _ in items():
        checkpoint("async for")
    [item async for item in items()]
    async with Manager():
        pass
    await asyncio.get_running_loop().run_in_executor(None, checkpoint, "executor")
    asyncio.get_running_loop().call_soon(checkpoint, "call_soon")
    await asyncio.sleep(0)


def threads():
    thread = threading.Thread(target=recursion, args=(3, "thread"))
    thread.start()
    thread.join()


def traced():
    def trace(frame, event, argument):
        if frame.f_code.co_name == "target" and event == "call":
            sys.settrace(None)
            checkpoint("settrace")

    def target():
        pass

    sys.settrace(trace)
    target()
    sys.settrace(None)


def ctypes_callback():
    kind = ctypes.CFUNCTYPE(ctypes.c_int)
    function = kind(lambda: checkpoint("ctypes callback") or 0)
    function()
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    once = []

    def order(left, right):
        if not once:
            once.append(1)
            checkpoint("qsort")
        return 0

    array = (ctypes.c_int * 2)(2, 1)
    ctypes.CDLL(None).qsort(array, 2, 4, compare(order))


def imported():
    import importlib.abc
    import importlib.util

    class Finder(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path, target=None):
            if name == "does_not_exist":
                checkpoint("import")
            return None

    sys.meta_path.append(Finder())
    try:
        import does_not_exist
    except ImportError:
        pass
    sys.meta_path.pop()


def ünïcödé_名前():
    checkpoint("unicode")
    names = {}
    exec(compile("def \U00010400x(): checkpoint('wide')\n\U00010400x()", "/tmp/\U0001f40d.py", "exec"), {"checkpoint": checkpoint}, names)


plain()
(lambda: checkpoint("lambda"))()
dunders()
callbacks()
generators()
decorated(1, key=2)
managed()
executed()
class_bodies()
recursion(10, "recursion")
recursion(200, "recursion 200")
recursion_through_c(20)
lines()
asyncio.run(asynchronous())
threads()
traced()
ctypes_callback()
imported()
ünïcödé_名前()
recursion(600, "recursion 600")
checkpoint("end")

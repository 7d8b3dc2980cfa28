"""A program's own account of where its threads spent their time, function by function.

A function enters and leaves by hand; what passes between two of these calls belongs to the innermost
function that has entered, as a profile's time belongs to the innermost frame. CPU time is the thread's
own clock, so that preemption and other programs do not count.
"""

import ctypes
import os
import sys
import threading
import time

# Also tell how long threads waited for a processor while they could have run; costs a read of /proc.
tell_waiting = False

# Calls C and keeps the interpreter's lock: to measure must not mean to wait for it.
_keeping_lock = ctypes.PyDLL(None)

_local = threading.local()
_threads = []
_lock = threading.Lock()


class Account:
    """One thread's time by function."""

    def __init__(self):
        self.name = threading.current_thread().name
        self.tid = threading.get_native_id()
        self.cpu_ns = {}
        self.off_ns = {}
        self.waiting_ns = {}
        self._stack = []
        self._cpu = time.thread_time_ns()
        self._wall = time.perf_counter_ns()
        self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._buffer = ctypes.create_string_buffer(128)
        self._waiting = self._waiting_ns()

    def _settle(self):
        waiting = self._waiting_ns()
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        if self._stack:
            name = self._stack[-1]
            spent = cpu - self._cpu
            self.cpu_ns[name] = self.cpu_ns.get(name, 0) + spent
            off = max(wall - self._wall - spent, 0)
            self.off_ns[name] = self.off_ns.get(name, 0) + off
            waited = waiting - self._waiting
            self.waiting_ns[name] = self.waiting_ns.get(name, 0) + waited
        self._cpu, self._wall, self._waiting = cpu, wall, waiting

    def _waiting_ns(self):
        """How long this thread has waited for a processor so far."""
        if not tell_waiting:
            return 0
        length = _keeping_lock.pread(self._file, self._buffer, 128, 0)
        return int(self._buffer.raw[:length].split()[1])

    def enter(self, name):
        self._settle()
        self._stack.append(name)

    def leave(self):
        self._settle()
        self._stack.pop()


def account():
    """This thread's."""
    found = getattr(_local, "account", None)
    if found is None:
        found = _local.account = Account()
        with _lock:
            _threads.append(found)
    return found


class inside:
    """`with inside("name"):`"""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        account().enter(self.name)

    def __exit__(self, *_):
        account().leave()


def truth(functions, **more):
    """What all threads spent, and where each function stands in its file."""
    def total(of, name):
        return sum(of(thread).get(name, 0) for thread in _threads)

    return {
        "truth": {
            name: {
                "frame": frame(function),
                "first_line": function.__code__.co_firstlineno,
                "last_line": max(
                    (line for _, _, line in function.__code__.co_lines() if line), default=0
                ),
                "cpu_ns": total(lambda thread: thread.cpu_ns, name),
                "off_ns": total(lambda thread: thread.off_ns, name),
                "waiting_ns": total(lambda thread: thread.waiting_ns, name),
            }
            for name, function in functions.items()
        },
        "python": "%d.%d.%d" % sys.version_info[:3],
        "threads": {thread.name: thread.tid for thread in _threads},
        **more,
    }


def frame(function):
    """As a profile names it: before 3.11 a code object knows its bare name only."""
    code = function.__code__
    name = code.co_qualname if sys.version_info >= (3, 11) else code.co_name
    return "%s.%s" % (stem(code.co_filename), name)


def stem(path):
    return path.rsplit("/", 1)[-1].rsplit(".", 1)[0]

"""What vLLM's processes look like from outside, and how they end.

Titles are written as `setproctitle` writes them: over the memory of argv, which also wipes
`/proc/PID/environ`; the thread name keeps 15 characters. A child ends when its parent does.
"""

import ctypes
import json
import os
import resource
import signal
import sys
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15


def _initial_memory():
    """Addresses of argv's start and the environment's end, as the kernel knows them."""
    with open("/proc/self/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    # Field numbers of proc(5) less the two before the closing parenthesis and one for base 0.
    return int(fields[48 - 3]), int(fields[51 - 3])


def set_title(title):
    """Replaces the command line by `title` and wipes the initial environment."""
    _libc.strdup.restype = ctypes.c_void_p
    _libc.strdup.argtypes = [ctypes.c_void_p]
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(_libc, "environ")
    index = 0
    while environ[index]:
        # getenv must go on working: CUDA reads its variables from the copies.
        environ[index] = _libc.strdup(environ[index])
        index += 1
    start, end = _initial_memory()
    text = title.encode()[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, text, len(text))
    _libc.prctl(_PR_SET_NAME, title.encode()[:15], 0, 0, 0)


class StopRequest:
    """Set by SIGTERM or SIGINT. A flag, not an exception: a launch is never cut in half."""

    def __init__(self):
        self.requested = False
        self.read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, _number, _frame):
        self.requested = True
        try:
            os.write(self._write_end, b"x")
        except BlockingIOError:
            pass


def fork(child_main):
    """Runs `child_main` in a child that dies with this process; its PID."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() == parent:
            code = child_main() or 0
    except BaseException:  # noqa: BLE001 - the child must end here, whatever happened
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # C's exit, so that libraries in this process get to run their exit handlers; Python's
        # interpreter is left as it stands, as multiprocessing does.
        _libc.exit(code)


def wait_all(pids, seconds):
    """Waits for children; ends those that outlive `seconds`. Exit statuses by PID."""
    deadline = time.monotonic() + seconds
    statuses = {}
    killed = False
    while len(statuses) < len(pids):
        for pid in pids:
            if pid in statuses:
                continue
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                statuses[pid] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline and not killed:
                os.kill(pid, signal.SIGKILL)
        killed = killed or time.monotonic() > deadline
        if len(statuses) < len(pids):
            time.sleep(0.01)
    return statuses


def ended(pid):
    """Exit status of a child that has ended, else None."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def say(**fields):
    """One JSON line on stdout, in one write so that processes do not mix."""
    os.write(1, (json.dumps(fields) + "\n").encode())


def cpu_seconds():
    """CPU time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return round(usage.ru_utime + usage.ru_stime, 3)

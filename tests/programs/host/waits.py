"""Functions with known time off the CPU, one for each way a thread of a server waits: sleep, lock, queue,
socket, readiness, pipe, file, child process, and the interpreter's lock.

Waits for a line on standard input, runs `--rounds` of them, prints what each function waited as one line
of JSON, and ends when its input does.
"""

import argparse
import json
import os
import queue
import select
import socket
import sys
import tempfile
import threading
import time

import meter
from meter import account, inside, truth

# Longer than any threshold below which sleeps are not told.
WAIT = 0.03
# Enough for a disk to be busy with for several milliseconds.
FILLING = bytes(12 << 20)


def nap():
    with inside("nap"):
        time.sleep(WAIT)


def locked(lock):
    with inside("locked"):
        lock.acquire()


def queued(jobs):
    with inside("queued"):
        return jobs.get()


def received(end):
    with inside("received"):
        return end.recv(1)


def polled(end):
    with inside("polled"):
        select.select([end], [], [], 10.0)


def piped(descriptor):
    with inside("piped"):
        return os.read(descriptor, 1)


def written(descriptor):
    """Waits for the disk, for as long as that takes."""
    with inside("written"):
        os.pwrite(descriptor, FILLING, 0)
        os.fsync(descriptor)


def reaped():
    """Starting a child waits, too: until it has become the other program."""
    with inside("reaped"):
        child = os.posix_spawn("/bin/sleep", ["sleep", str(WAIT)], os.environ)
        os.waitpid(child, 0)


def contended(turns):
    """Lets go of the interpreter's lock and has to wait for it, because `hog` has it."""
    with inside("contended"):
        for _ in range(turns):
            time.sleep(0.0001)


def hog(wanted, busy, over):
    """Keeps the interpreter's lock while it is wanted."""
    while not over.is_set():
        wanted.wait()
        busy.set()
        with inside("hog"):
            value = 0
            while wanted.is_set() and not over.is_set():
                for turn in range(1000):
                    value = (value + turn) % 65521


def partner(orders):
    """Ends the other thread's waits, each a while after it began."""
    while True:
        action = orders.get()
        if action is None:
            return
        time.sleep(WAIT)
        action()


FUNCTIONS = {
    "nap": nap,
    "locked": locked,
    "queued": queued,
    "received": received,
    "polled": polled,
    "piped": piped,
    "written": written,
    "reaped": reaped,
    "contended": contended,
}
REASONS = {
    "nap": "sleep",
    "locked": "lock",
    "queued": "lock",
    "received": "network",
    "polled": "network",
    "piped": "io",
    "written": "io",
    "reaped": "child",
    "contended": "gil",
}


def waiter(rounds, file):
    account()
    orders, jobs, lock = queue.Queue(), queue.Queue(), threading.Lock()
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    wanted, busy, over = threading.Event(), threading.Event(), threading.Event()
    helpers = [
        threading.Thread(target=partner, args=(orders,), name="partner"),
        threading.Thread(target=hog, args=(wanted, busy, over), name="hog"),
    ]
    for helper in helpers:
        helper.start()
    for _ in range(rounds):
        nap()
        lock.acquire()
        orders.put(lock.release)
        locked(lock)
        lock.release()
        orders.put(lambda: jobs.put(1))
        queued(jobs)
        orders.put(lambda: theirs.send(b"x"))
        received(ours)
        orders.put(lambda: theirs.send(b"x"))
        polled(ours)
        ours.recv(1)
        orders.put(lambda: os.write(writing, b"x"))
        piped(reading)
        written(file)
        reaped()
        wanted.set()
        busy.wait()
        contended(8)
        wanted.clear()
        busy.clear()
    orders.put(None)
    over.set()
    wanted.set()
    for helper in helpers:
        helper.join()


def gate():
    """Waits until the observer is there."""
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=12)
    options = parser.parse_args()
    meter.tell_waiting = True
    with tempfile.TemporaryFile(dir=".") as file:
        gate()
        began = time.perf_counter_ns()
        waiter(options.rounds, file.fileno())
        wall = time.perf_counter_ns() - began
    print(json.dumps(truth(FUNCTIONS, wall_ns=wall, reasons=REASONS)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

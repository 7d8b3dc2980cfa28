"""A multi-threaded worker: threads that compute, wait, sleep, read sockets and run an event loop, and check each
other. Prints a line of counts whenever it reads one: turns, errors. Ends with its input."""

import asyncio
import hashlib
import queue
import select
import socket
import sys
import threading
import time

turns = {}
errors = []


def check(name, good):
    turns[name] = turns.get(name, 0) + 1
    if not good:
        errors.append(name)
        print("wrong:", name, file=sys.stderr, flush=True)


def compute(name):
    while True:
        value = 0
        for step in range(20_000):
            value = (value * 31 + step) % 1_000_003
        check(name, value == 667_472)


def digest(name):
    block = b"warplens" * 100_000
    expected = hashlib.sha256(block).digest()
    while True:
        check(name, hashlib.sha256(block).digest() == expected)


def sleep(name):
    while True:
        begin = time.monotonic()
        time.sleep(0.005)
        check(name, time.monotonic() - begin >= 0.005)


def pass_on(name):
    there, back = queue.Queue(), queue.Queue()

    def answer():
        while True:
            back.put(there.get())

    threading.Thread(target=answer, daemon=True).start()
    number = 0
    while True:
        number += 1
        there.put(number)
        check(name, back.get(timeout=60) == number)


def talk(name):
    one, other = socket.socketpair()
    poll = select.epoll()
    poll.register(other, select.EPOLLIN)
    while True:
        one.send(b"x")
        check(name, poll.poll(timeout=60) != [] and other.recv(1) == b"x")
        check(name, poll.poll(timeout=0.001) == [])


def loop(name):
    async def run():
        while True:
            begin = time.monotonic()
            await asyncio.sleep(0.003)
            check(name, time.monotonic() - begin >= 0.0025)

    asyncio.run(run())


WORKS = [compute, digest, sleep, pass_on, talk, loop]


def main():
    for work in WORKS:
        threading.Thread(target=work, args=(work.__name__,), daemon=True).start()
    for _line in sys.stdin:
        print(min(turns.values()) if len(turns) == len(WORKS) else 0, len(errors), flush=True)


if __name__ == "__main__":
    main()

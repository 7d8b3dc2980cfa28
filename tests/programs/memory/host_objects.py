"""A server that keeps a record of each request for ever, of a size that Python's own allocator has: 200 bytes and their
33 of an object. Honest: it keeps the last hundred."""

import random

from server import run

KEPT = 100
history = []


def new_record():
    return bytes(200)


def remember(honest):
    history.append(new_record())
    if honest and len(history) > KEPT:
        del history[0]


def parse():
    return {str(random.random()): [n, (n,)] for n in range(1000, 1020)}


def serve(honest):
    work = parse()
    remember(honest)
    return len(work)


run(serve)

"""A server that keeps a buffer of each request for ever. Honest: it keeps the last hundred."""

import random

from server import run

KEPT = 100
history = []


def new_buffer(size):
    return bytearray(size)


def remember(honest):
    history.append(new_buffer(2048))
    if honest and len(history) > KEPT:
        del history[0]


def serve(honest):
    work = [new_buffer(random.randrange(600, 5000)) for _ in range(20)]
    remember(honest)
    return len(work)


run(serve)

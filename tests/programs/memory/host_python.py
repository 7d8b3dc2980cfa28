"""A server in Python that keeps a buffer of each request for ever. Honest: it keeps the last hundred.

As the other programs: --seed N --second MS --seconds N [--honest].
"""

import argparse
import random
import time

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


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--second", type=int, default=1000)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--honest", action="store_true")
    asked = arguments.parse_args()
    random.seed(asked.seed)
    for _ in range(asked.seconds * 100):
        for _ in range(5):
            serve(asked.honest)
        time.sleep(asked.second / 100_000)


main()

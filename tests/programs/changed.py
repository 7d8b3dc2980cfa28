"""A program in two versions, for what changes from one to the other: `changed.py before|after`.

Runs until it is told to end. Both versions do the same rounds but for this: `after` takes three times
as long over `grown`, and calls `replacement` where `before` calls `replaced`.
"""

import signal
import sys


def spin(turns):
    total = 0
    for number in range(turns):
        total += number & 3
    return total


def kept():
    return spin(20_000)


def grown(times):
    return spin(10_000 * times)


def replaced():
    return spin(10_000)


def replacement():
    return spin(10_000)


def main():
    is_after = sys.argv[1] == "after"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print("working", flush=True)
    while True:
        kept()
        grown(3 if is_after else 1)
        if is_after:
            replacement()
        else:
            replaced()


main()

"""A steady program amid children that fork, exec, die and are killed at every moment.

Waits for a line on standard input, goes on for `--seconds`, prints what its own function spent as one line
of JSON, and ends when its input does.
"""

import argparse
import json
import os
import random
import signal
import sys
import time

from meter import inside, truth

SPIN = "value = 0\nfor turn in range(300000): value ^= turn"


def steady(turns):
    with inside("steady"):
        value = 0
        for turn in range(turns):
            value ^= turn
    return value


def child(kind):
    """Never comes back."""
    try:
        if kind == "spin":
            steady(random.randrange(300000))
        elif kind == "python":
            os.execv(sys.executable, [sys.executable, "-S", "-c", SPIN])
        elif kind == "true":
            os.execv("/bin/true", ["true"])
        elif kind == "again":
            # Forks once more and leaves an orphan, which spins.
            if os.fork() == 0:
                steady(100000)
        elif kind == "victim":
            while True:
                steady(10000)
    finally:
        os._exit(0)


FUNCTIONS = {"steady": steady}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    began, before, children = time.perf_counter(), time.process_time_ns(), 0
    while time.perf_counter() - began < options.seconds:
        kinds = ["spin", "python", "true", "again", "victim"]
        pids = {}
        for kind in kinds:
            pid = os.fork()
            if pid == 0:
                child(kind)
            pids[kind] = pid
        steady(200000)
        time.sleep(random.random() * 0.02)
        os.kill(pids["victim"], signal.SIGKILL)
        for pid in pids.values():
            os.waitpid(pid, 0)
        children += len(kinds)
    spent = time.process_time_ns() - before
    wall = int((time.perf_counter() - began) * 1e9)
    print(json.dumps(truth(FUNCTIONS, cpu_ns=spent, wall_ns=wall, children=children)), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()

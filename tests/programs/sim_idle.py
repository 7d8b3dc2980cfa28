#!/usr/bin/env python3
"""A server whose devices are idle for known causes, on the simulated CUDA.

From outside it is vLLM's engine core with one worker. The worker makes gaps on the first simulated
device; for some causes it waits for a second one. Every cycle makes gaps of one cause and ends with a kernel
that covers what the two processes have to say to each other.

Each process writes when its first thread slept: `FOLDER/PID.sleeps`, JSON with `hands_out` (it is the
engine core) and two lists of [from, to, asleep ns, away ns], CLOCK_MONOTONIC: `waits`, at most one sleep of
so many nanoseconds somewhere in between, and `elsewhere`, what it slept between two of them; away is asleep
or ready and without a CPU. Everything else a
judge needs stands in the simulator's truth files.
"""

import argparse
import os
import signal
import sys
import time

sys.dont_write_bytecode = True

from simulated_server.idle import CAUSES, EngineCore  # noqa: E402
from simulated_server.process import StopRequest, ended, fork, say, wait_all  # noqa: E402


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cause", action="append", choices=sorted(CAUSES), required=True)
    parser.add_argument("--folder", required=True, help="where the sleeps are written")
    parser.add_argument("--lull", type=float, default=0.03, help="seconds without requests")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args(arguments)


def main():
    options = parse(sys.argv[1:])
    stop = StopRequest()
    engine = fork(lambda: EngineCore(options).main())
    status = None
    while status is None and not stop.requested:
        time.sleep(0.05)
        status = ended(engine)
    if status is None:
        os.kill(engine, signal.SIGTERM)
        status = wait_all([engine], 15)[engine]
    say(event="end", process="script", engine=status)
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

"""The frontend: the process whose command line stays readable; checks, starts and ends the rest."""

import argparse
import os
import signal
import sys
import time

from .cudart import NotSimulated, load
from .engine import STOP_SECONDS, EngineCore
from .metrics import Figures, serve
from .process import StopRequest, cpu_seconds, ended, fork, say, wait_all

# A step every 20 ms, as a model of this size decodes.
PERIOD_SECONDS = 0.02


def parse(arguments):
    parser = argparse.ArgumentParser(prog="vllm")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("serve")
    command.add_argument("model")
    command.add_argument("--tensor-parallel-size", dest="gpus", type=int, default=2)
    command.add_argument("--port", type=int, default=8000)
    command.add_argument("--sim-rate", dest="rate", type=float, default=25_000)
    command.add_argument("--sim-single-rate", dest="single_rate", type=float, default=6_000)
    command.add_argument("--sim-seconds", dest="seconds", type=float, default=0)
    command.add_argument("--sim-seed", dest="seed", type=int, required=True)
    command.add_argument("--sim-streams", dest="streams", type=int, default=4)
    command.add_argument("--sim-lull", dest="lull", type=float, default=0)
    command.add_argument("--sim-stick", dest="stick", default="")
    command.add_argument("--sim-metrics", dest="metrics", action="store_true")
    command.add_argument("--sim-tell-steps", dest="tell_steps", action="store_true")
    options = parser.parse_args(arguments)
    options.period = PERIOD_SECONDS
    return options


def refuse_real_cuda():
    """Looks in a child, so that this process never maps a CUDA library, as vLLM's does not."""
    read, write = os.pipe()

    def child():
        try:
            load()
        except NotSimulated as error:
            os.write(write, str(error).encode())
            return 2
        return 0

    pid = fork(child)
    os.close(write)
    with os.fdopen(read, "rb") as answer:
        reason = answer.read().decode()
    status = wait_all([pid], 20)[pid]
    if status == 0:
        return None
    return reason or f"looking for the simulated CUDA ended with status {status}"


def main():
    options = parse(sys.argv[1:])
    reason = refuse_real_cuda()
    if reason is not None:
        print(f"sim_vllm: refused: {reason}", file=sys.stderr)
        return 2
    stop = StopRequest()
    say(event="start", simulated=True, seed=options.seed, pid=os.getpid(), gpus=options.gpus,
        rate=options.rate, single_rate=options.single_rate)
    figures = Figures()
    engine = fork(lambda: EngineCore(options, figures).main())
    # After the fork: a thread does not come along.
    if options.metrics:
        say(event="metrics", port=serve(options.port, options.model, figures))
    status = None
    while status is None and not stop.requested:
        time.sleep(0.05)
        status = ended(engine)
    if status is None:
        os.kill(engine, signal.SIGTERM)
        # The engine ends its workers within STOP_SECONDS of its own.
        status = wait_all([engine], STOP_SECONDS + 5)[engine]
    say(event="end", process="frontend", pid=os.getpid(), simulated=True, engine=status,
        cpu_seconds=cpu_seconds())
    return 0 if status == 0 else 1

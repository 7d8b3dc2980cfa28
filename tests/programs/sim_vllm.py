#!/usr/bin/env python3
"""Starts a server that looks like vLLM from outside and drives the simulated CUDA.

Decides nothing but the command line: it becomes `vllm serve MODEL ...` (same PID), because
tools recognise a server by that. The server itself is the package `simulated_server`. It refuses
to run on anything but the simulated CUDA, which LD_LIBRARY_PATH must name.
"""

import argparse
import os
import sys


def parse(arguments):
    parser = argparse.ArgumentParser(
        description="A vLLM-like process tree on the simulated CUDA, for profilers to look at."
    )
    parser.add_argument("--gpus", type=int, default=2, help="workers, one per simulated GPU")
    parser.add_argument(
        "--rate", type=float, default=25_000, help="kernels per second, all GPUs together"
    )
    parser.add_argument(
        "--single-rate",
        type=float,
        default=6_000,
        help="of those, kernels launched one by one; the rest are graph nodes",
    )
    parser.add_argument(
        "--seconds", type=float, default=0, help="seconds to serve; 0 means until SIGTERM"
    )
    parser.add_argument("--seed", type=int, default=None, help="default: a fresh one, printed")
    parser.add_argument("--streams", type=int, default=4, help="streams a GPU, at least 4")
    parser.add_argument(
        "--tell-steps", action="store_true", help="say at the end when which steps began"
    )
    parser.add_argument(
        "--lull", type=float, default=0, help="seconds without requests, after each 1.5 of serving"
    )
    parser.add_argument("--model", default="sim/Llama-3.3-70B-Instruct")
    parser.add_argument("--port", type=int, default=8000, help="shown only, unless --metrics")
    parser.add_argument(
        "--metrics", action="store_true", help="serve /metrics on loopback at --port; 0 takes any"
    )
    parser.add_argument(
        "--stick",
        metavar="FILE",
        default="",
        help="as soon as this file is there worker 0 launches a kernel that does not end",
    )
    options = parser.parse_args(arguments)
    if options.gpus < 1:
        parser.error("--gpus must be at least 1")
    if options.streams < 4:
        parser.error("--streams must be at least 4")
    if not 0 <= options.single_rate <= options.rate or options.rate <= 0:
        parser.error("--rate must be positive and --single-rate between 0 and --rate")
    return options


def main():
    options = parse(sys.argv[1:])
    seed = options.seed
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    here = os.path.dirname(os.path.abspath(__file__))
    os.execv(
        sys.executable,
        [
            sys.executable,
            os.path.join(here, "vllm"),
            "serve",
            options.model,
            "--tensor-parallel-size",
            str(options.gpus),
            "--port",
            str(options.port),
            "--sim-rate",
            str(options.rate),
            "--sim-single-rate",
            str(options.single_rate),
            "--sim-seconds",
            str(options.seconds),
            "--sim-seed",
            str(seed),
            "--sim-streams",
            str(options.streams),
            "--sim-lull",
            str(options.lull),
            "--sim-stick",
            options.stick,
            *(["--sim-metrics"] if options.metrics else []),
            *(["--sim-tell-steps"] if options.tell_steps else []),
        ],
    )


if __name__ == "__main__":
    main()

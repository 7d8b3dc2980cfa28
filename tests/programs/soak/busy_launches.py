"""The busy, multi-threaded worker of agent/tests/inject/busy.py, which launches on the simulated CUDA besides: kernels
one by one from one thread, replays of a graph from another. Prints and ends as that one."""

import pathlib
import sys
import time

PROGRAMS = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(PROGRAMS), str(PROGRAMS.parent.parent / "agent/tests/inject")]

import busy  # noqa: E402
from simulated_server.cudart import Runtime  # noqa: E402

runtime = Runtime(0)


def packet(stream):
    return runtime.launch_packet("busy_kernel__sim20000", 1, 32, stream)


def launch(name):
    stream = runtime.stream()
    kernel = packet(stream)
    while True:
        busy.check(name, all(runtime.launch_kernel(*kernel) == 0 for _launch in range(20)))
        runtime.synchronize_stream(stream)
        time.sleep(0.002)


def replay(name):
    stream = runtime.stream()
    kernel = packet(stream)
    runtime.begin_capture(stream)
    captured = all(runtime.launch_kernel(*kernel) == 0 for _node in range(10))
    graph = runtime.end_capture(stream)
    while True:
        busy.check(name, captured and runtime.launch_graph(graph, stream) == 0)
        runtime.synchronize_stream(stream)
        time.sleep(0.002)


busy.WORKS += [launch, replay]
busy.main()

"""A decode loop as fast as it goes on the simulated CUDA: what a profiler costs it shows in its steps.

`decode_loop.py eager` launches a step's kernels one by one, each shorter than its launch, so that the host is what a
step waits for; `graph` replays them as one CUDA graph, so that it waits for the device. Every step ends with a copy to
the host and a wait. For each number of seconds read from standard input one line of JSON: which it was, steps, the time
they took, and percentiles of a step, in microseconds.
"""

import gc
import json
import sys
import time

from simulated_server.cudart import DEVICE_TO_HOST, Runtime

KERNELS = 300
# Nanoseconds of a kernel: below a launch's own time, and as a decode step of a small model has them.
DURATION = {"eager": 500, "graph": 4000}
NAMES = [
    "void flash::flash_fwd_splitkv_kernel__sim{}",
    "nvjet_hsh_64x8_64x16_4x1_v_bz_TNT__sim{}",
    "void vllm::rms_norm_kernel__sim{}",
    "void vllm::act_and_mul_kernel__sim{}",
]


def dispatch():
    """What a framework does before a launch: some microseconds of the interpreter."""
    return sum(range(600))


def attend(launch, packet):
    dispatch()
    return launch(*packet)


def multiply(launch, packet):
    dispatch()
    return launch(*packet)


class Loop:
    def __init__(self, mode):
        self.runtime = runtime = Runtime(0)
        self.stream = runtime.stream()
        packets = [
            runtime.launch_packet(name.format(DURATION[mode]), 64, 128, self.stream)
            for name in NAMES
        ]
        self.packets = [packets[index % len(packets)] for index in range(KERNELS)]
        host, device = runtime.malloc_host(4096), runtime.malloc(4096)
        self.output = runtime.copy_packet(host, device, 4096, DEVICE_TO_HOST, self.stream)
        if mode == "graph":
            runtime.begin_capture(self.stream)
            self.forward()
            self.graph = runtime.end_capture(self.stream)
            self.forward = self.replay

    def forward(self):
        launch = self.runtime.launch_kernel
        for index, packet in enumerate(self.packets):
            if (attend if index % 4 == 0 else multiply)(launch, packet):
                raise RuntimeError("a launch was refused")

    def replay(self):
        if self.runtime.launch_graph(self.graph, self.stream):
            raise RuntimeError("a replay was refused")

    def step(self):
        self.forward()
        if self.runtime.copy(self.output):
            raise RuntimeError("a copy was refused")
        self.runtime.synchronize_stream(self.stream)

    def run(self, seconds):
        clock, steps = time.perf_counter_ns, []
        begin = before = clock()
        end = begin + int(seconds * 1e9)
        while before < end:
            self.step()
            now = clock()
            steps.append(now - before)
            before = now
        steps.sort()
        at = lambda share: steps[int(share * (len(steps) - 1))] / 1000
        return {
            "steps": len(steps),
            "seconds": (before - begin) / 1e9,
            "p50_us": at(0.5),
            "p99_us": at(0.99),
        }


def main():
    loop = Loop(sys.argv[1])
    loop.run(0.2)
    # A collection in one variant's window and not in another's would be noise.
    gc.disable()
    print("ready", flush=True)
    for turn, line in enumerate(sys.stdin):
        print(json.dumps({"turn": turn, **loop.run(float(line))}), flush=True)


main()

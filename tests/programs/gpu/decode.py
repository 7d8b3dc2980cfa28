"""Decodes so many steps and says what it did, a line of JSON each: when it is ready, and at the end.

With --wait the steps begin when a line comes on standard input. With --profile they run under torch.profiler.
"""

import argparse
import json
import os
import sys
import time

import torch

import model


def cupti_path():
    with open("/proc/self/maps", encoding="utf-8") as maps:
        for line in maps:
            if "libcupti.so" in line:
                return line.split(maxsplit=5)[5].strip()
    return ""


def tell(event, **facts):
    print(json.dumps({"event": event, "pid": os.getpid(), **facts}), flush=True)


def kernels_of(trace):
    with open(trace, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    return sum(1 for event in events if event.get("ph") == "X" and event.get("cat") == "kernel")


def profiled(decoder, steps, trace):
    """The steps under torch.profiler; how many kernels its trace has."""
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        decoder.steps(steps)
        torch.cuda.synchronize()
    profiler.export_chrome_trace(trace)
    return kernels_of(trace)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["eager", "graph"], default="eager")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--wait", action="store_true", help="begin when a line comes on standard input")
    parser.add_argument("--profile", metavar="FILE", help="run the steps under torch.profiler; its trace")
    parser.add_argument("--again", type=int, default=0, help="profile so many times, with steps without it between")
    options = parser.parse_args()
    decoder = model.Decoder(options.batch, options.mode == "graph")
    decoder.steps(20)
    torch.cuda.synchronize()
    tell(
        "ready",
        gpu=torch.cuda.get_device_name(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        cupti_path=cupti_path(),
    )
    if options.wait:
        sys.stdin.readline()
    before = torch.cuda.memory_reserved()
    begin = time.monotonic()
    kernels = []
    if options.profile:
        kernels.append(profiled(decoder, options.steps, options.profile))
        for _ in range(options.again):
            decoder.steps(options.steps)
            kernels.append(profiled(decoder, options.steps, options.profile))
    else:
        decoder.steps(options.steps)
        torch.cuda.synchronize()
    seconds = time.monotonic() - begin
    tell(
        "end",
        mode=options.mode,
        batch=options.batch,
        steps=options.steps,
        seconds=seconds,
        tokens_per_second=options.steps * options.batch / seconds,
        profiled_kernels=kernels,
        reserved_bytes_grown=torch.cuda.memory_reserved() - before,
        cupti_path=cupti_path(),
    )


if __name__ == "__main__":
    main()

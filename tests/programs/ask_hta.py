"""What HolisticTraceAnalysis says about Kineto traces: a JSON object for each, on a line of its own.

    python3 ask_hta.py TRACE...            busy, idle and overlapping time, with its defaults
    python3 ask_hta.py --whole TRACE...    with the last profiler step
    python3 ask_hta.py --four TRACE...     two more analyses, for the time they take: kernels, idle by cause

Rounding is its own switch, the variable HTA_DISABLE_NS_ROUNDING. Each line has the seconds that reading
and analysing took; the last line those that importing the package took, and the peak of memory.
"""

import argparse
import json
import logging
import math
import resource
import time
import warnings

warnings.filterwarnings("ignore")
BEFORE = time.perf_counter()
from hta.trace_analysis import TraceAnalysis  # noqa: E402

IMPORTED = time.perf_counter() - BEFORE
logging.disable(logging.CRITICAL)


def analyses(path, whole, wide):
    """Times in microseconds, the overlap in percent of communication."""
    began = time.perf_counter()
    # A map, so that a trace that names no rank, or one beside its own job's, can be read.
    analysis = TraceAnalysis(trace_files={0: path}, include_last_profiler_step=whole)
    times = analysis.get_temporal_breakdown(visualize=False).iloc[0]
    overlap = analysis.get_comm_comp_overlap(visualize=False).iloc[0]["comp_comm_overlap_pctg"]
    if wide:
        analysis.get_gpu_kernel_breakdown(visualize=False)
        analysis.get_idle_time_breakdown(visualize=False)
    return {
        "trace": path,
        "idle": float(times["idle_time(us)"]),
        "compute": float(times["compute_time(us)"]),
        "window": float(times["kernel_time(us)"]),
        # Without communication it is no number, which JSON has no word for.
        "overlap": None if math.isnan(overlap) else float(overlap),
        "seconds": time.perf_counter() - began,
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--four", action="store_true", help="kernels and idle causes too")
    parser.add_argument("traces", nargs="+")
    arguments = parser.parse_args()
    for path in arguments.traces:
        print(json.dumps(analyses(path, arguments.whole, arguments.four)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"import_seconds": IMPORTED, "peak_bytes": peak}))


if __name__ == "__main__":
    main()

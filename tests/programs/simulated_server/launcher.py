"""Counts and issues what a worker puts on its streams.

One launcher per worker. Three modes: `plan` adds up what would be launched (to fix the load before
any kernel has a duration), `capture` launches into a graph, `run` launches for real.
"""

import os

from .cudart import CudaError

KERNELS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kernels.tsv")
# Durations one kernel name gets: enough that its records differ, few enough handles to register.
VARIANTS = (0.62, 0.81, 0.97, 1.13, 1.47)
# Batches that decoding graphs are captured for, and the tokens of a batch with a prompt in it.
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
PROMPT_TOKENS = 512


def read_kernels(path=KERNELS):
    """Name, kind and mean duration in ns by `class/kind`."""
    families = {}
    with open(path, encoding="utf-8") as table:
        for line in table:
            if line.startswith("#") or not line.strip():
                continue
            name, kernel_class, kind, mean = line.rstrip("\n").split("\t")
            families.setdefault(f"{kernel_class}/{kind}", []).append((name, int(mean)))
    return families


class Launcher:
    """Streams, events and counters of one worker."""

    def __init__(self, runtime, streams):
        self.runtime = runtime
        self.streams = [runtime.stream() for _ in range(streams)]
        # Roles beyond the fourth stream share the auxiliary work.
        self.main, self.comm, self.copies, self.aux = self.streams[:4]
        self.auxiliary = [self.aux, *self.streams[4:]]
        self.mode = "plan"
        self.planned = []
        self.operators = []
        self._events = [runtime.event() for _ in range(64)]
        self._next_event = 0
        self.launches_ok = 0
        self.launches_captured = 0
        self.launches_failed = 0
        # Tokens of the batch that is captured or run.
        self.tokens = 0
        self.graph_launches = 0
        self.graph_launches_failed = 0
        self.graph_kernels = 0
        self.copies_ok = 0
        self.copies_failed = 0

    def fork(self, source, target):
        """`target` waits for what is on `source` so far."""
        if self.mode == "plan":
            return
        event = self._events[self._next_event]
        self._next_event = (self._next_event + 1) % len(self._events)
        self.runtime.record(event, source)
        self.runtime.wait(target, event)

    def launch(self, packet):
        if self.runtime.launch_kernel(*packet):
            self.launches_failed += 1
        elif self.mode == "run":
            self.launches_ok += 1
        else:
            self.launches_captured += 1

    def replay(self, graph):
        """Launches a captured graph on the main stream."""
        if self.runtime.launch_graph(graph.handle, self.main):
            self.graph_launches_failed += 1
        else:
            self.graph_launches += 1
            self.graph_kernels += graph.kernels

    def copy(self, packet):
        if self.runtime.copy(packet):
            self.copies_failed += 1
        else:
            self.copies_ok += 1

    def set(self, packet):
        if self.runtime.set(packet):
            self.copies_failed += 1
        else:
            self.copies_ok += 1

    def capture(self, body):
        """Runs `body` in capture mode and returns its graph."""
        before = self.launches_captured
        self.mode = "capture"
        self.runtime.begin_capture(self.main)
        body()
        handle = self.runtime.end_capture(self.main)
        self.mode = "run"
        return Graph(handle, self.launches_captured - before)

    def plan(self, body):
        """(stream, mean ns) of everything `body` would launch."""
        self.planned = []
        body()
        return self.planned

    def fix_durations(self, scale):
        """Gives every operator its kernels, `scale` times the mean duration, and goes live."""
        for operator in self.operators:
            operator.prepare(scale)
        self.mode = "run"


class Graph:
    """An executable graph and how many kernels one replay runs."""

    def __init__(self, handle, kernels):
        self.handle = handle
        self.kernels = kernels
        if kernels == 0:
            raise CudaError("captured an empty graph")


class Operator:
    """One kernel of one layer on one stream; each call launches the next of its durations."""

    def __init__(self, launcher, name, mean_ns, stream, grid=132):
        self._launcher = launcher
        self._name = name
        self._mean_ns = mean_ns
        self._stream = stream
        self._grid = grid
        self._each_token = False
        self._packets = {}
        self._turn = 0
        launcher.operators.append(self)

    def for_each_token(self):
        """Its grid has a block per token of the batch."""
        self._each_token = True
        return self

    def prepare(self, scale):
        runtime = self._launcher.runtime
        tokens = (*BATCH_SIZES, PROMPT_TOKENS)
        for grid in tokens if self._each_token else (self._grid,):
            self._packets[grid] = [
                runtime.launch_packet(
                    f"{self._name}__sim{max(500, round(self._mean_ns * factor * scale))}",
                    grid,
                    256,
                    self._stream,
                )
                for factor in VARIANTS
            ]

    def __call__(self):
        launcher = self._launcher
        if launcher.mode == "plan":
            launcher.planned.append((self._stream, self._mean_ns))
            return
        turn = self._turn
        self._turn = turn + 1
        packets = self._packets[launcher.tokens if self._each_token else self._grid]
        launcher.launch(packets[turn % len(packets)])

"""Executes scheduler steps on one device: input copies, graphs or layers, sampling, output copy.

Holds the rates it is told by counting: every step carries how many kernels should have been
launched by its end, singly and by graphs, and the step works off the difference.
"""

import queue
import random
import threading

from .cudart import DEVICE_TO_DEVICE, DEVICE_TO_HOST, HOST_TO_DEVICE
from .launcher import BATCH_SIZES, PROMPT_TOKENS, Launcher, read_kernels
from .layers import Builder, DecoderLayer, Sampler

# Of every step's time the main stream shall be busy so much, on average; the rest are idle gaps.
LOAD = 0.68
MAX_LAYERS = 96
# Longer than anybody watches.
STUCK_NS = 3_600_000_000_000
KIB = 1024


class GPUModelRunner:
    """One device's model, its graphs and buffers."""

    def __init__(self, runtime, options, rank):
        self._runtime = runtime
        self._options = options
        self._rank = rank
        self.launcher = Launcher(runtime, options.streams)
        self._random = random.Random(options.seed * 1000 + rank)
        self._build = Builder(self.launcher, read_kernels(), self._random)
        self.layers = []
        self.sampler = Sampler(self._build)
        self.draft = DecoderLayer(self._build)
        self.inputs = [self._build.operator("other/memory") for _ in range(2)]
        self.decode_graphs = {}
        self.pieces = []
        self._output = queue.SimpleQueue()
        self._copied = [runtime.event() for _ in range(2)]
        self._workspace = None
        self._stuck = False

    def plan(self):
        """Chooses the number of layers and the kernels' durations from the rates."""
        options = self._options
        nodes = (options.rate - options.single_rate) / options.gpus * options.period
        singles = options.single_rate / options.gpus * options.period
        total = 0
        while not self.layers or (total < nodes and len(self.layers) < MAX_LAYERS):
            layer = DecoderLayer(self._build)
            count = len(self.launcher.plan(lambda layer=layer: layer.forward("decode")))
            if self.layers and total + count / 2 > nodes:
                break
            self.layers.append(layer)
            total += count
        main = self.launcher.main
        graph_ns = self._main_ns(self._forward_decode, main) / total * nodes
        eager = self.launcher.plan(lambda: (self.draft.forward("decode"), self.sampler.forward()))
        eager_ns = sum(ns for stream, ns in eager if stream is main) / len(eager) * singles
        scale = LOAD * options.period * 1e9 / max(graph_ns + eager_ns, 1)
        self.launcher.fix_durations(min(scale, 4.0))

    def _main_ns(self, body, main):
        return sum(ns for stream, ns in self.launcher.plan(body) if stream is main)

    def load_model(self):
        """Allocates weights and cache and copies some of the weights in."""
        runtime = self._runtime
        self._weights = [runtime.malloc(512 * KIB * KIB) for _ in range(8)]
        self._cache = [runtime.malloc(1024 * KIB * KIB) for _ in range(4)]
        self._staging = runtime.malloc_host(4096 * KIB)
        self._host_out = runtime.malloc_host(64 * KIB)
        self._device_in = runtime.malloc(256 * KIB)
        self._device_out = runtime.malloc(256 * KIB)
        launcher = self.launcher
        packet = runtime.copy_packet
        self._input_copies = [
            packet(self._device_in, self._staging, size * KIB, HOST_TO_DEVICE, launcher.copies)
            for size in (4, 16, 2)
        ]
        self._output_copy = packet(
            self._host_out, self._device_out, 4 * KIB, DEVICE_TO_HOST, launcher.copies
        )
        self._block_copy = packet(
            self._device_out, self._device_in, 64 * KIB, DEVICE_TO_DEVICE, launcher.aux
        )
        self._clear = runtime.set_packet(self._device_out, 0, 32 * KIB, launcher.aux)
        for weight in self._weights:
            launcher.copy(
                packet(weight, self._staging, 4096 * KIB, HOST_TO_DEVICE, launcher.copies)
            )
        runtime.synchronize()

    def profile_run(self):
        """Warm-up: one eager pass in each phase."""
        self.launcher.tokens = PROMPT_TOKENS
        for phase in ("prefill", "decode"):
            for layer in self.layers:
                layer.forward(phase)
        self.sampler.forward()
        self._runtime.synchronize()

    def capture_model(self):
        """Full graphs for decoding, pieces around attention for prefill and mixed steps."""
        for batch in BATCH_SIZES:
            self.launcher.tokens = batch
            self.decode_graphs[batch] = self.launcher.capture(self._forward_decode)
        self.launcher.tokens = PROMPT_TOKENS
        for layer in self.layers:
            self.pieces.append(
                (
                    self.launcher.capture(layer.piece_before_attention),
                    layer,
                    self.launcher.capture(layer.piece_after_attention),
                )
            )
        self._runtime.synchronize()

    def start_output_thread(self):
        thread = threading.Thread(
            target=self._copy_outputs, name="WorkerAsyncOutputCopy", daemon=True
        )
        thread.start()
        return thread

    def _forward_decode(self):
        for layer in self.layers:
            layer.forward("decode")

    def execute_model(self, step):
        """One step; returns when the step before it has left the device."""
        self.launcher.tokens = step["batch"] if step["phase"] == "decode" else PROMPT_TOKENS
        self._prepare_inputs()
        if step["phase"] == "decode":
            self._execute_decode(step)
        else:
            self._execute_piecewise(step)
        self._propose_draft(step)
        self.sampler.forward()
        self._maintain(step["number"])
        if step["sticks"] and self._rank == 0 and not self._stuck:
            self._stick()
        self._emit_output(step["number"])

    def _stick(self):
        """A kernel that waits for what never comes, as a collective does whose peer is gone."""
        self._stuck = True
        launcher = self.launcher
        name = f"ncclDevKernel_AllReduce_Sum_bf16_RING_LL__sim{STUCK_NS}"
        launcher.launch(self._runtime.launch_packet(name, 16, 512, launcher.main))

    def _prepare_inputs(self):
        launcher = self.launcher
        for packet in self._input_copies:
            launcher.copy(packet)
        launcher.fork(launcher.copies, launcher.main)
        for operator in self.inputs:
            operator()

    def _graph_room(self, step, kernels):
        return self.launcher.graph_kernels + kernels / 2 <= step["graph_kernels"]

    def _execute_decode(self, step):
        graph = self.decode_graphs[step["batch"]]
        while self._graph_room(step, graph.kernels):
            self._replay_graph(graph)

    def _execute_piecewise(self, step):
        for before, layer, after in self.pieces:
            if not self._graph_room(step, before.kernels + after.kernels):
                break
            self._replay_graph(before)
            layer.attention.attend(step["phase"])
            self._replay_graph(after)

    def _replay_graph(self, graph):
        self.launcher.replay(graph)

    def _propose_draft(self, step):
        """Speculation runs eagerly: the part of the load that is launched kernel by kernel."""
        margin = 8
        launcher = self.launcher
        while launcher.launches_ok + margin < step["singles"]:
            before = launcher.launches_ok + launcher.launches_failed
            self.draft.forward(step["phase"])
            if launcher.launches_ok + launcher.launches_failed == before:
                break

    def _maintain(self, number):
        launcher = self.launcher
        if number % 5 == 0:
            launcher.set(self._clear)
            launcher.copy(self._block_copy)
        if number % 40 == 7:
            self._grow_workspace()
        if number % 100 == 50:
            self._runtime.synchronize()

    def _grow_workspace(self):
        old = self._workspace
        self._workspace = self._runtime.malloc(self._random.randrange(1, 64) * KIB * KIB)
        if old is not None:
            self._runtime.free(old)
        pinned = self._runtime.malloc_host(self._random.randrange(1, 64) * 4 * KIB)
        self._runtime.free_host(pinned)

    def _emit_output(self, number):
        """Hands the output copy to its thread; waits for the copy of the step before."""
        launcher = self.launcher
        launcher.fork(launcher.main, launcher.copies)
        event = self._copied[number % 2]
        done = threading.Event()
        self._output.put((event, done))
        done.wait(5)
        if number > 0:
            self._runtime.wait_on_host(self._copied[(number + 1) % 2])

    def _copy_outputs(self):
        while True:
            event, done = self._output.get()
            if event is None:
                return
            self.launcher.copy(self._output_copy)
            self._runtime.record(event, self.launcher.copies)
            done.set()

    def stop(self, thread):
        self._output.put((None, None))
        thread.join(5)
        self._runtime.synchronize()

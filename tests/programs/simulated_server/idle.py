"""An engine core and a worker that make idle gaps of known causes, one cause a cycle."""

import ctypes
import json
import os
import random
import select
import time

from .cudart import Runtime
from .process import StopRequest, fork, say, set_title, wait_all

MS = 1_000_000
# Runs while the processes talk: longer than that takes on a machine with other work to do.
COVER_NS = 3 * MS
# A gap begins when the cover ends and lasts this long at least.
GAP_NS = 5 * MS
KERNEL = "nvjet_tst_128x256_64x4_1x2_h_bz_coopA_TNT"

CAUSES = (
    "launch_latency",
    "dependency",
    "sync",
    "host_bound",
    "host_bound_engine",
    "no_requests",
    "no_requests_polling",
)


class Sleeps:
    """When this process's first thread may have slept, and how long it did.

    Away = elapsed - CPU time; asleep = away - time ready and without a CPU, which the scheduler tells.
    """

    def __init__(self, folder, hands_out):
        self._folder = folder
        self._hands_out = hands_out
        self._statistics = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._waits = []
        # Locks and page faults, between two waits.
        self._elsewhere = []
        self._now = self._read()

    def _read(self):
        ready = int(os.pread(self._statistics, 100, 0).split()[1])
        return time.monotonic_ns(), ready, time.thread_time_ns()

    def _add(self, to):
        (before, ready_before, ran_before), self._now = self._now, self._read()
        after, ready, ran = self._now
        away = max(0, after - before - ran + ran_before)
        to.append((before, after, max(0, away - ready + ready_before), away))

    def around(self, wait):
        self._add(self._elsewhere)
        value = wait()
        self._add(self._waits)
        return value

    def write(self):
        self._add(self._elsewhere)
        with open(os.path.join(self._folder, f"{os.getpid()}.sleeps"), "w") as file:
            told = {"waits": self._waits, "elsewhere": self._elsewhere}
            json.dump({"hands_out": self._hands_out, **told}, file)


def spin(ns):
    """Stays on the CPU."""
    end = time.monotonic_ns() + ns
    while time.monotonic_ns() < end:
        pass


class EngineCore:
    """Tells the worker which gaps to make; sleeps while the worker works, unless asked not to."""

    def __init__(self, options):
        self._options = options
        self._random = random.Random(options.seed)
        self._stop = StopRequest()
        self._sleeps = Sleeps(options.folder, hands_out=True)

    def main(self):
        set_title("VLLM::EngineCore")
        commands_read, commands_write = os.pipe()
        answers_read, answers_write = os.pipe()

        def child():
            os.close(commands_write)
            os.close(answers_read)
            return Worker(self._options, commands_read, answers_write).main()

        worker = fork(child)
        os.close(commands_read)
        os.close(answers_write)
        self._answers = os.fdopen(answers_read, "rb", buffering=0)
        if self._answer():
            say(event="serving", simulated=True, pid=os.getpid(),
                workers=[{"pid": worker, "gpu": 0}])
            self._run(commands_write)
        os.close(commands_write)
        status = wait_all([worker], 10)[worker]
        self._sleeps.write()
        return status

    def _run(self, commands):
        while not self._stop.requested:
            cause = self._random.choice(self._options.cause)
            os.write(commands, (json.dumps({"cause": cause}) + "\n").encode())
            if cause == "host_bound_engine":
                spin(COVER_NS + 2 * GAP_NS)
            if not self._answer():
                return
            if cause.startswith("no_requests"):
                # An empty queue: nothing arrives but the request to stop.
                lull = self._options.lull * self._random.uniform(0.7, 1.3)
                wait = lambda lull=lull: select.select([self._stop.read_end], [], [], lull)
                self._sleeps.around(wait)

    def _answer(self):
        return self._sleeps.around(lambda: self._answers.read(4096))


class Worker:
    """Makes gaps on device 0; device 1 is what it waits for, where it waits."""

    def __init__(self, options, commands, answers):
        self._options = options
        self._commands = os.fdopen(commands, "rb", buffering=0)
        self._answers = answers
        self._stop = StopRequest()
        self._sleeps = Sleeps(options.folder, hands_out=False)
        self._polls = False

    def main(self):
        set_title("VLLM::Worker")
        needs_peer = bool({"dependency", "sync"} & set(self._options.cause))
        if needs_peer:
            peer = Runtime(1)
            self._peer_stream = peer.stream()
            self._event = peer.event()
        self._here = Runtime(0)
        self._stream = self._here.stream()
        self._made = self._here.event()
        self._packets = {}
        if needs_peer:
            self._other = self._packet(GAP_NS + COVER_NS, self._peer_stream)
        self._launch(COVER_NS)
        os.write(self._answers, b"ready\n")
        while (command := self._receive()) is not None:
            getattr(self, command["cause"])()
            self._here.record(self._made, self._stream)
            self._launch(COVER_NS)
            # The device must not fall behind the host: what is queued is no gap.
            self._sleeps.around(lambda: self._here.wait_on_host(self._made))
            os.write(self._answers, b"done\n")
        self._here.synchronize()
        self._sleeps.write()
        return 0

    def _packet(self, ns, stream):
        return self._here.launch_packet(f"{KERNEL}__sim{ns}", 1, 32, stream)

    def _launch(self, ns):
        if ns not in self._packets:
            self._packets[ns] = self._packet(ns, self._stream)
        if self._here.launch_kernel(*self._packets[ns]):
            raise RuntimeError("a launch failed")

    def _launch_on_peer(self):
        self._switch(1)
        if self._here.launch_kernel(*self._other):
            raise RuntimeError("a launch failed")
        self._switch(0)

    def _switch(self, device):
        self._here._check("cudaSetDevice", ctypes.c_int(device))

    def _receive(self):
        """Next command, waited for asleep, or looked for again and again with naps between."""
        ends = [self._commands, self._stop.read_end]
        while True:
            if self._stop.requested:
                return None
            timeout = 0.002 if self._polls else 5
            ready = self._sleeps.around(lambda: select.select(ends, [], [], timeout))[0]
            if self._commands in ready:
                data = self._commands.read(4096)
                self._polls = False
                return json.loads(data) if data else None

    def launch_latency(self):
        """Kernels so short that each ends before the next, launched behind it, can start."""
        self._sleeps.around(self._here.synchronize)
        for _ in range(100):
            spin(15_000)
            self._launch(2_000)

    def dependency(self):
        """Work that waits for the other device."""
        self._launch_on_peer()
        self._here.record(self._event, self._peer_stream)
        self._here.wait(self._stream, self._event)
        self._launch(MS // 5)

    def sync(self):
        """The host waits for the other device, then launches."""
        self._launch_on_peer()
        self._sleeps.around(lambda: self._here.synchronize_stream(self._peer_stream))
        self._launch(MS // 5)

    def host_bound(self):
        """The launching thread is busy with something else."""
        spin(COVER_NS + GAP_NS)
        self._launch(MS // 5)

    def host_bound_engine(self):
        """The launching thread sleeps, but the engine has work: it is late all the same."""
        self._sleeps.around(lambda: time.sleep((COVER_NS + GAP_NS) / 1e9))
        self._launch(MS // 5)

    def no_requests(self):
        """The gap comes after the answer, while nobody asks for anything."""

    def no_requests_polling(self):
        """The same, while the worker looks again every two milliseconds."""
        self._polls = True

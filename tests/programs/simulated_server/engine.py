"""The engine core: forks the workers, schedules steps by the clock, waits for their answers."""

import json
import os
import random
import select
import time
from collections import deque

from .process import StopRequest, cpu_seconds, fork, say, set_title, wait_all
from .worker import Worker

# A stalled worker is caught up with over several steps, at most this much faster than asked.
CATCH_UP = 1.25
# Serving between two lulls, where there are any.
SERVE_SECONDS = 1.5
# Steps whose time, phase and batch are kept.
STEPS_TOLD = 4096
START_SECONDS = 120
STOP_SECONDS = 10


class Scheduler:
    """Phases of steps: mostly decoding, some prefill and mixed, sometimes a pause."""

    def __init__(self, options):
        self._random = random.Random(options.seed)
        self._options = options
        # Seconds of serving whose work has been scheduled.
        self._reached = 0.0
        self.number = 0
        # When which steps began, for who asks.
        self.scheduled = deque(maxlen=STEPS_TOLD)

    def schedule(self, elapsed):
        """The step to run `elapsed` seconds after serving began."""
        options = self._options
        phase = self._random.choices(("decode", "mixed", "prefill"), (7, 2, 1))[0]
        limit = self._reached + options.period * CATCH_UP
        self._reached = min(elapsed + options.period, limit)
        singles = options.single_rate / options.gpus
        nodes = (options.rate - options.single_rate) / options.gpus
        step = {
            "number": self.number,
            "phase": phase,
            "batch": self._random.choice((8, 16, 32)),
            "singles": round(singles * self._reached),
            "graph_kernels": round(nodes * self._reached),
            "sticks": bool(options.stick) and os.path.exists(options.stick),
        }
        self.number += 1
        self.scheduled.append((time.monotonic_ns(), phase, step["batch"]))
        return step

    def pause(self):
        """Seconds without requests after this step."""
        return 0.06 if self.number % 250 == 249 else 0.0


class EngineCore:
    """Owns the workers; `busy_loop` is the server's heart."""

    def __init__(self, options, figures):
        self._options = options
        self._figures = figures
        self._generated = 0
        self._workers = []
        self._stop = StopRequest()
        # When there was nothing to schedule, since the latest lull.
        self._unasked = []
        self.scheduler = Scheduler(options)

    def main(self):
        set_title("VLLM::EngineCore")
        for rank in range(self._options.gpus):
            self._start_worker(rank)
        failure = self._wait_for_workers("ready", START_SECONDS)
        if failure is None and not self._stop.requested:
            say(
                event="serving",
                simulated=True,
                pid=os.getpid(),
                workers=[
                    {"pid": pid, "gpu": rank} for rank, (pid, _, _) in enumerate(self._workers)
                ],
            )
            failure = self.run_busy_loop()
        return self._shut_down(failure)

    def _start_worker(self, rank):
        commands_read, commands_write = os.pipe()
        answers_read, answers_write = os.pipe()
        inherited = [end for _, write, read in self._workers for end in (write, read.fileno())]

        def child():
            for end in (commands_write, answers_read, *inherited):
                os.close(end)
            return Worker(self._options, rank, commands_read, answers_write).main()

        pid = fork(child)
        os.close(commands_read)
        os.close(answers_write)
        self._workers.append((pid, commands_write, os.fdopen(answers_read, "rb", buffering=0)))

    def run_busy_loop(self):
        started = time.monotonic()
        next_step = started
        next_lull = started + SERVE_SECONDS
        while not self._stop.requested:
            elapsed = time.monotonic() - started
            if self._options.seconds and elapsed >= self._options.seconds:
                return None
            failure = self.step(elapsed)
            if failure is not None:
                return failure
            next_step = max(next_step + self._options.period, time.monotonic() - 1.0)
            self._sleep_until(next_step + self.scheduler.pause())
            if self._options.lull and time.monotonic() >= next_lull:
                self._lull()
                # What was not asked for is not caught up with.
                started += self._options.lull
                next_step = time.monotonic()
                next_lull = next_step + SERVE_SECONDS
        return None

    def _lull(self):
        """The queue of requests is empty; the workers wait for a step."""
        begin = time.monotonic_ns()
        self._figures.set(self._generated, 0)
        self._sleep_until(time.monotonic() + self._options.lull)
        say(event="lull", pid=os.getpid(), lull=(begin, time.monotonic_ns()), unasked=self._unasked)
        self._unasked = []

    def step(self, elapsed):
        """Schedules one step on all workers and waits for it; a sentence when one failed."""
        step = self.scheduler.schedule(elapsed)
        self._figures.set(self._generated, step["batch"])
        failure = self.execute_model(step)
        if step["phase"] != "prefill":
            self._generated += step["batch"]
        self._figures.set(self._generated, step["batch"])
        return failure

    def execute_model(self, step):
        line = (json.dumps(step) + "\n").encode()
        for pid, commands, _ in self._workers:
            try:
                os.write(commands, line)
            except BrokenPipeError:
                return f"worker {pid} is gone"
        return self._wait_for_workers("done", 30)

    def _wait_for_workers(self, key, seconds):
        deadline = time.monotonic() + seconds
        waiting = {answers: pid for pid, _, answers in self._workers}
        while waiting:
            left = deadline - time.monotonic()
            if left < 0:
                return f"workers {sorted(waiting.values())} did not answer `{key}` in {seconds} s"
            ready, _, _ = select.select(list(waiting), [], [], left)
            for answers in ready:
                data = answers.read(65536)
                if not data:
                    return None if self._stop.requested else f"worker {waiting[answers]} is gone"
                if key in json.loads(data.splitlines()[-1]):
                    del waiting[answers]
        return None

    def _sleep_until(self, moment):
        """Nothing to schedule until then."""
        left = moment - time.monotonic()
        if left > 0:
            begin = time.monotonic_ns()
            select.select([self._stop.read_end], [], [], left)
            if self._options.lull:
                self._unasked.append((begin, time.monotonic_ns()))

    def _shut_down(self, failure):
        for _, commands, _ in self._workers:
            os.close(commands)
        statuses = wait_all([pid for pid, _, _ in self._workers], STOP_SECONDS)
        if self._options.lull:
            say(event="lull", pid=os.getpid(), lull=(0, 0), unasked=self._unasked)
        if self._options.tell_steps:
            say(event="steps", steps=list(self.scheduler.scheduled))
        say(
            event="end",
            process="VLLM::EngineCore",
            pid=os.getpid(),
            simulated=True,
            steps=self.scheduler.number,
            failure=failure,
            workers=statuses,
            cpu_seconds=cpu_seconds(),
        )
        return 1 if failure or any(statuses.values()) else 0

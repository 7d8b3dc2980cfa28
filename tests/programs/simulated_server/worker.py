"""A worker process: owns one device, obeys the engine's steps, reports what it launched."""

import json
import os
import select
import time

from .cudart import NotSimulated, Runtime
from .model_runner import GPUModelRunner
from .process import StopRequest, cpu_seconds, say, set_title


class Worker:
    """The engine's commands come as JSON lines on `commands`; answers go to `answers`."""

    def __init__(self, options, rank, commands, answers):
        self._options = options
        self._rank = rank
        self._commands = os.fdopen(commands, "rb", buffering=0)
        self._answers = answers
        self._pending = b""
        self._stop = StopRequest()
        self._steps = 0

    def main(self):
        set_title("VLLM::Worker")
        title = "VLLM::Worker" if self._options.gpus == 1 else f"VLLM::Worker_TP{self._rank}"
        set_title(title)
        try:
            self._runtime = Runtime(self._rank)
        except NotSimulated as error:
            say(event="refused", process=title, reason=str(error))
            return 2
        self.runner = GPUModelRunner(self._runtime, self._options, self._rank)
        self.runner.plan()
        self.runner.load_model()
        self.runner.profile_run()
        self.runner.capture_model()
        thread = self.runner.start_output_thread()
        self._warm = self.runner.launcher.launches_ok
        self._answer({"ready": self._rank, "layers": len(self.runner.layers)})
        started = time.monotonic()
        self._cpu = cpu_seconds()
        try:
            self._busy_loop()
        finally:
            self.runner.stop(thread)
            self._report(title, time.monotonic() - started)
        return 0

    def _busy_loop(self):
        while (step := self._receive()) is not None:
            step["singles"] += self._warm
            self.runner.execute_model(step)
            self._steps += 1
            self._answer({"done": step["number"]})

    def _receive(self):
        """Next command; None when the engine closed the pipe or a stop was requested."""
        while b"\n" not in self._pending:
            if self._stop.requested:
                return None
            ready, _, _ = select.select([self._commands, self._stop.read_end], [], [], 5)
            if self._commands in ready:
                data = self._commands.read(65536)
                if not data:
                    return None
                self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return json.loads(line)

    def _answer(self, fields):
        try:
            os.write(self._answers, (json.dumps(fields) + "\n").encode())
        except BrokenPipeError:
            self._stop.requested = True

    def _report(self, title, seconds):
        launcher = self.runner.launcher
        say(
            event="end",
            process=title,
            pid=os.getpid(),
            gpu=self._rank,
            simulated=True,
            seconds=round(seconds, 3),
            steps=self._steps,
            launches_ok=launcher.launches_ok,
            launches_captured=launcher.launches_captured,
            launches_failed=launcher.launches_failed,
            graph_launches=launcher.graph_launches,
            graph_launches_failed=launcher.graph_launches_failed,
            graph_kernels=launcher.graph_kernels,
            copies_ok=launcher.copies_ok,
            copies_failed=launcher.copies_failed,
            cpu_percent=round((cpu_seconds() - self._cpu) / max(seconds, 1e-9) * 100, 1),
        )

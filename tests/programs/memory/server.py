"""What the servers in Python have in common: --seed N --second MS --seconds N [--honest], as the other programs."""

import argparse
import random
import time


def run(serve):
    """Calls `serve(honest)` 500 times in each of its seconds."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--second", type=int, default=1000)
    arguments.add_argument("--seconds", type=int, default=60)
    arguments.add_argument("--honest", action="store_true")
    asked = arguments.parse_args()
    random.seed(asked.seed)
    for _ in range(asked.seconds * 100):
        for _ in range(5):
            serve(asked.honest)
        time.sleep(asked.second / 100_000)

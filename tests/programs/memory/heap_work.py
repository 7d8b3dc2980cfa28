"""Work as a server in Python does it, a turn of it for each line that comes in: texts are parsed, kept for a while, and
written."""

import json
import sys
import time

TURN = 100_000
live = [None] * 1000


def parse(number):
    request = json.loads('{"id": "request-%d", "tokens": [%s]}' % (number, ", ".join(map(str, range(1000, 1020)))))
    request["count"] = sum(request["tokens"]) + len(request["id"])
    return request


def serve(number):
    live[number % len(live)] = parse(number)
    return len(json.dumps(live[(number * 7) % len(live)]))


def main():
    print("ready", flush=True)
    for turn, _line in enumerate(sys.stdin):
        before = time.process_time()
        for number in range(TURN):
            serve(number)
        print(json.dumps({"turn": turn, "cpu_s": time.process_time() - before}), flush=True)


main()

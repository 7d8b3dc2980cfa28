#!/usr/bin/env python3
"""Process trees that look from outside as vLLM's do, for the tests of discovery.

Titles and argument lists are those of vLLM 0.33; nothing is served and no CUDA is used. Prints one
line of JSON, names and PIDs, when every process is up; ends with its standard input, on SIGTERM, or
after ten minutes.

    server_tree.py SHAPE [--titled-late] -- ARGUMENTS OF vllm serve
"""

import json
import mmap
import os
import signal
import socket
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from simulated_server.process import _libc, fork, set_title  # noqa: E402

LIMIT = 600
TRACKER = "from multiprocessing.resource_tracker import main;main(32)"
SPAWN = "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)"

# Titles by name, children in lists. A leading `+` maps the server's shared queue.
SHAPES = {
    "uni": ["tracker", "EngineCore"],
    "mp": ["tracker", ["EngineCore", "Worker_TP0", "Worker_TP1"]],
    "api": ["tracker", ["EngineCore", "Worker"], "APIServer_0", "APIServer_1"],
    "dp": [
        "DPCoordinator",
        ["EngineCore_DP0", "Worker_DP0_TP0_EP0", "Worker_DP0_TP1_EP1"],
        ["EngineCore_DP1", "Worker_DP1_TP0_EP2", "Worker_DP1_TP1_EP3"],
        "APIServer_0",
        "APIServer_1",
    ],
    "rust": ["EngineCore", "rust"],
    "offline": [["EngineCore", "Worker_TP0", "Worker_TP1"]],
    "ray": ["+EngineCore"],
    "late": ["copy:EngineCore", "spawn:APIServer_0"],
}


def title(name):
    return os.environ.get("VLLM_PROCESS_NAME_PREFIX", "VLLM") + "::" + name


def wait():
    """Until the parent ends; a child is killed with it."""
    while True:
        signal.pause()


def shared():
    """Maps the queue that engine core and workers have in common."""
    with open(os.environ["TREE_QUEUE"], "r+b") as file:
        return mmap.mmap(file.fileno(), 4096)


def titled(name, children, tell):
    """What a titled child does."""
    queue = shared() if name.startswith("+") else None
    name = name.lstrip("+")
    set_title(title(name))
    pids = [start(child, tell) for child in children]
    tell(name, os.getpid())
    wait()
    return (queue, pids)


def on_signal(name):
    """Takes its title when it is told to, as a child does after minutes of imports."""
    signal.signal(signal.SIGUSR1, lambda *_: set_title(title(name)))


def start(child, tell):
    name, *children = child if isinstance(child, list) else [child]
    if name == "tracker":
        return run([sys.executable, "-c", "import time; time.sleep(600)", TRACKER], name, tell)
    if name == "rust":
        return rust(tell)
    if name.startswith("spawn:"):
        code = (
            f"import sys; sys.dont_write_bytecode = True; sys.path.insert(0, {HERE!r});"
            f"import server_tree; server_tree.on_signal({name[6:]!r}); server_tree.wait()"
        )
        return run([sys.executable, "-c", code, SPAWN], name, tell)

    def main():
        if name.startswith("copy:"):
            on_signal(name[5:])
            tell(name, os.getpid())
            wait()
        titled(name, children, tell)

    return fork(main)


def run(command, name, tell, folder=None):
    def main():
        tell(name, os.getpid())
        if folder:
            os.chdir(folder)
        os.execv(sys.executable, command)

    return fork(main)


def rust(tell):
    """The Rust frontend gets every option of the server as JSON, keys among them."""
    options = {
        "api_key": ["s3cret-key"],
        "hf_token": "s3cret-token",
        "host": "127.0.0.1",
        "model_tag": "org/rust-model",
        "port": int(os.environ["TREE_PORT"]),
        "served_model_name": ["rusty"],
    }
    command = ["vllm-rs", "frontend", "--listen-fd", "3", "--data-parallel-size", "1"]
    command += ["--args-json", json.dumps(options, sort_keys=True)]
    return run(command, "rust", tell, os.path.join(HERE, "trees"))


def teller(descriptor):
    def tell(name, pid):
        os.write(descriptor, (json.dumps([name, pid]) + "\n").encode())

    return tell


def count(children):
    return sum(len(child) if isinstance(child, list) else 1 for child in children)


def frontend():
    """The first process of the server, under its final command line."""
    shape = SHAPES[os.environ["TREE_SHAPE"]]
    _libc.prctl(15, b"vllm", 0, 0, 0)
    sockets = []
    port = int(os.environ["TREE_PORT"])
    if port and os.environ["TREE_SHAPE"] != "offline":
        sockets.append(socket.create_server(("127.0.0.1", port)))
    read, write = os.pipe()
    tell = teller(write)
    for child in shape:
        start(child, tell)
    pids = {"frontend": os.getpid()}
    gather(read, pids, count(shape))
    extra = os.environ.get("TREE_TOLD")
    if extra:
        os.write(int(extra), (json.dumps(pids) + "\n").encode())
    else:
        os.write(1, (json.dumps(pids) + "\n").encode())
    signal.alarm(LIMIT)
    wait()


def gather(descriptor, pids, many):
    """Names and PIDs as children tell them."""
    buffer = b""
    while many:
        buffer += os.read(descriptor, 4096)
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            name, pid = json.loads(line)
            pids[name] = pid
            many -= 1


def raylet(command):
    """Ray's daemon: it starts the workers, and a server elsewhere on the node uses them."""
    told_read, told_write = os.pipe()
    os.set_inheritable(told_write, True)
    os.environ["TREE_TOLD"] = str(told_write)
    server = os.fork()
    if server == 0:
        _libc.prctl(1, signal.SIGTERM, 0, 0, 0)
        os.execv(sys.executable, command)
    # The daemon is no parent of the server's: one process more between them.
    read, write = os.pipe()
    tell = teller(write)

    def daemon():
        _libc.prctl(15, b"raylet", 0, 0, 0)
        for child in ["+Worker_TP0", "+Worker_TP1", "Worker_TP5"]:
            start(child, tell)
        wait()

    fork(daemon)
    pids = json.loads(os.read(told_read, 65536))
    gather(read, pids, 3)
    os.write(1, (json.dumps(pids) + "\n").encode())
    signal.alarm(LIMIT)
    wait()


def main():
    shape, *arguments = sys.argv[1:]
    if arguments[:1] == ["--"]:
        arguments = arguments[1:]
    os.environ["TREE_SHAPE"] = shape
    os.environ.setdefault("TREE_PORT", "0")
    if shape == "offline":
        command = [sys.executable, os.path.join(HERE, "trees", "offline.py"), *arguments]
    else:
        command = [sys.executable, os.path.join(HERE, "trees", "vllm"), "serve", *arguments]
    if shape != "ray":
        os.execv(sys.executable, command)
    queue = tempfile.NamedTemporaryFile(dir="/dev/shm", prefix="psm_")
    queue.write(bytes(4096))
    queue.flush()
    os.environ["TREE_QUEUE"] = queue.name
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    raylet(command)


if __name__ == "__main__":
    main()

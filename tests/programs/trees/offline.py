"""A program that makes its engine itself, as scripts with `LLM()` do."""

import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from server_tree import frontend  # noqa: E402

if __name__ == "__main__":
    sys.exit(frontend())

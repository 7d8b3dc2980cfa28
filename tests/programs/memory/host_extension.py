"""A server whose extension in C keeps a copy of each prompt. Honest: it frees the copy."""

import sys

sys.path.insert(0, sys.argv.pop(1))

from server import run
import tokenizer


def count_tokens(prompt, honest):
    return tokenizer.count(prompt, honest)


def serve(honest):
    return sum(count_tokens("a b c d e f", honest) for _ in range(4))


run(serve)

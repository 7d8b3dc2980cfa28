"""A small transformer decoder with random weights, and one decode step of it: eager, or captured in a CUDA graph.

Nothing is downloaded: the weights are random, the tokens are meaningless, and the work has the shapes of a decode.
"""

import torch
from torch import nn
from torch.nn import functional

LAYERS = 16
WIDTH = 2048
HEADS = 16
CONTEXT = 1024
VOCABULARY = 32000


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH)
        self.norm_mlp = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, hidden, keys, values, position):
        batch = hidden.shape[0]
        query, key, value = self.qkv(self.norm_attention(hidden)).chunk(3, dim=-1)
        shape = (batch, HEADS, 1, WIDTH // HEADS)
        keys.index_copy_(2, position, key.reshape(shape))
        values.index_copy_(2, position, value.reshape(shape))
        # The whole cache is attended to: one shape for every step, which a graph needs.
        attended = functional.scaled_dot_product_attention(query.reshape(shape), keys, values)
        hidden = hidden + self.out(attended.reshape(batch, WIDTH))
        return hidden + self.down(functional.gelu(self.up(self.norm_mlp(hidden))))


class Decoder:
    """One token for each sequence of the batch, a step at a time."""

    def __init__(self, batch, graph):
        torch.manual_seed(1)
        options = {"device": "cuda", "dtype": torch.bfloat16}
        self.batch = batch
        self.embedding = nn.Embedding(VOCABULARY, WIDTH).to(**options)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS)).to(**options)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False).to(**options)
        shape = (batch, HEADS, CONTEXT, WIDTH // HEADS)
        self.caches = [(torch.zeros(shape, **options), torch.zeros(shape, **options)) for _ in range(LAYERS)]
        self.tokens = torch.zeros(batch, dtype=torch.long, device="cuda")
        self.position = torch.zeros(1, dtype=torch.long, device="cuda")
        self.graph = None
        # What a graph captures must have run before, beside the stream that made the weights.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._forward()
        torch.cuda.synchronize()
        if graph:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self._forward()

    @torch.no_grad()
    def _forward(self):
        hidden = self.embedding(self.tokens)
        for layer, (keys, values) in zip(self.layers, self.caches):
            hidden = layer(hidden, keys, values, self.position)
        self.tokens.copy_(self.head(hidden).argmax(dim=-1))
        self.position.add_(1).remainder_(CONTEXT)

    def step(self):
        if self.graph is None:
            self._forward()
        else:
            self.graph.replay()

    def steps(self, count):
        for _ in range(count):
            self.step()
            # A server hands each token on.
            self.tokens.cpu()

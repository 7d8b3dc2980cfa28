"""The layers of the simulated model: which kernels run on which stream, in vLLM's call shape.

Kernels are drawn per layer from the families in kernels.tsv, by the seed. All-reduce runs on a
stream of its own under the next micro-batch's GEMM; experts route on the auxiliary stream.
"""

from .launcher import Operator


class Builder:
    """Draws kernels of a family for layers."""

    def __init__(self, launcher, families, random):
        self.launcher = launcher
        self._families = families
        self._random = random

    def operator(self, family, stream=None):
        """An operator running some kernel of `family` (`class/kind`), on the main stream unless told."""
        name, mean_ns = self._random.choice(self._families[family])
        return Operator(self.launcher, name, mean_ns, stream or self.launcher.main)

    def choose(self, *options):
        return self._random.choice(options)

    def auxiliary(self):
        return self._random.choice(self.launcher.auxiliary)


class RMSNorm:
    def __init__(self, build):
        self._norm = build.operator("other/norm_act")

    def forward(self):
        self._norm()


class Linear:
    """A projection, with activation quantisation in front in some layers."""

    def __init__(self, build, kind="gemm/dense"):
        self._quant = build.operator("other/quant") if build.choose(True, False, False) else None
        self._gemm = build.operator(kind)

    def forward(self):
        if self._quant is not None:
            self._quant()
        self.apply()

    def apply(self):
        self._gemm()


class RotaryEmbedding:
    def __init__(self, build):
        self._rotary = build.operator("other/norm_act")

    def forward_cuda(self):
        self._rotary()


class AttentionBackend:
    """KV write, then the attention kernel; decoding splits the keys and merges."""

    def __init__(self, build):
        self._write = build.operator("other/kv_cache").for_each_token()
        self._decode = build.operator(
            build.choose("attention/decode", "attention/mla", "attention/generic")
        )
        self._merge = build.operator("attention/decode")
        self._prefill = build.operator(build.choose("attention/prefill", "attention/prefill",
                                                    "attention/linear_ssm"))

    def write_cache(self):
        self._write()

    def forward_decode(self):
        self._decode()
        self._merge()

    def forward_prefill(self):
        self._prefill()


class SelfAttention:
    def __init__(self, build):
        self.qkv_proj = Linear(build)
        self.rotary = RotaryEmbedding(build)
        self.backend = AttentionBackend(build)
        self.o_proj = Linear(build)

    def project(self):
        self.qkv_proj.forward()
        self.rotary.forward_cuda()
        self.backend.write_cache()

    def attend(self, phase):
        if phase in ("prefill", "mixed"):
            self.backend.forward_prefill()
        if phase in ("decode", "mixed"):
            self.backend.forward_decode()


class TensorParallelGroup:
    """All-reduce on the communication stream, overlapped with compute until `join`."""

    def __init__(self, build):
        self._launcher = build.launcher
        family = build.choose("communication/nccl", "communication/custom_all_reduce")
        self._all_reduce = build.operator(family, build.launcher.comm)

    def all_reduce(self):
        self._launcher.fork(self._launcher.main, self._launcher.comm)
        self._all_reduce()

    def join(self):
        self._launcher.fork(self._launcher.comm, self._launcher.main)


class DenseMLP:
    def __init__(self, build):
        self.gate_up_proj = Linear(build)
        self._activation = build.operator("other/norm_act")
        self.down_proj = Linear(build, build.choose("gemm/dense", "gemm/dense", "gemm/gemv"))

    def forward(self):
        self.gate_up_proj.forward()
        self._activation()
        self.down_proj.forward()


class FusedMoE:
    """Routing on the auxiliary stream, experts on the main one."""

    def __init__(self, build):
        self._launcher = build.launcher
        self._aux = build.auxiliary()
        self._shared = Linear(build)
        self._route = build.operator("other/routing", self._aux)
        self._align = build.operator("other/routing", self._aux)
        self._up = build.operator("gemm/moe")
        self._activation = build.operator("other/norm_act")
        self._down = build.operator("gemm/moe")
        self._sum = build.operator("other/routing")

    def select_experts(self):
        self._launcher.fork(self._launcher.main, self._aux)
        self._route()
        self._align()

    def forward(self):
        self.select_experts()
        self._shared.forward()
        self._launcher.fork(self._aux, self._launcher.main)
        self._up()
        self._activation()
        self._down()
        self._sum()


class DecoderLayer:
    """One transformer layer. `forward` is the whole; the `piece`s are what piecewise graphs hold."""

    def __init__(self, build):
        self.input_norm = RMSNorm(build)
        self.attention = SelfAttention(build)
        self.group = TensorParallelGroup(build)
        self.overlapped = Linear(build)
        self.post_norm = RMSNorm(build)
        self.mlp = FusedMoE(build) if build.choose(True, False, False) else DenseMLP(build)

    def piece_before_attention(self):
        self.input_norm.forward()
        self.attention.project()

    def piece_after_attention(self):
        self.attention.o_proj.forward()
        self.group.all_reduce()
        self.overlapped.forward()
        self.group.join()
        self.post_norm.forward()
        self.mlp.forward()

    def forward(self, phase):
        self.piece_before_attention()
        self.attention.attend(phase)
        self.piece_after_attention()


class Sampler:
    """Logits and sampling, outside every graph."""

    def __init__(self, build):
        self._logits = build.operator("gemm/dense")
        self._gather = build.operator("communication/nccl", build.launcher.comm)
        self._steps = [build.operator("other/sampling") for _ in range(4)]
        self._glue = [build.operator("other/elementwise") for _ in range(2)]
        self._launcher = build.launcher

    def forward(self):
        self.compute_logits()
        self.sample()

    def compute_logits(self):
        self._logits()
        self._launcher.fork(self._launcher.main, self._launcher.comm)
        self._gather()
        self._launcher.fork(self._launcher.comm, self._launcher.main)

    def sample(self):
        for glue in self._glue:
            glue()
        for step in self._steps:
            step()

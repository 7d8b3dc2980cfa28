//! The classes of GPU work and the kinds that refine them.

use std::fmt;

/// What a kernel does, as far as the split of GPU time goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Attention,
    Gemm,
    Communication,
    /// Everything else, copies and sets included.
    Other,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::Attention, Self::Gemm, Self::Communication, Self::Other];

    /// The spelling in reports, metrics and the rule file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Gemm => "gemm",
            Self::Communication => "communication",
            Self::Other => "other",
        }
    }

    /// The class spelled `text`.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == text)
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $class:ident / $text:literal,)*) => {
        /// Refines a [`Class`]; every kind belongs to exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The spelling in reports, metrics and the rule file.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }
        }
    };
}

kinds! {
    /// Attention over a prompt.
    Prefill = Attention / "prefill",
    /// Attention of one token (or a few) per sequence.
    Decode = Attention / "decode",
    /// Multi-head latent attention, either phase.
    Mla = Attention / "mla",
    /// State-space and linear attention, with their convolutions.
    LinearSsm = Attention / "linear_ssm",
    /// Sparse attention's indexer: its logits and top-k.
    Indexer = Attention / "indexer",
    /// Merging of partial attention results, metadata of attention kernels.
    Combine = Attention / "combine",
    /// Attention whose name does not tell the phase.
    Generic = Attention / "generic",
    Dense = Gemm / "dense",
    /// Grouped GEMM over experts.
    Moe = Gemm / "moe",
    Gemv = Gemm / "gemv",
    Nccl = Communication / "nccl",
    /// All-reduce and its relatives over peer or multicast memory.
    CustomAllReduce = Communication / "custom_all_reduce",
    Nvshmem = Communication / "nvshmem",
    /// Dispatch and combine of tokens between experts on other devices.
    ExpertParallel = Communication / "expert_parallel",
    /// Communication of none of the named libraries.
    Collective = Communication / "collective",
    /// Writing, gathering or dequantising the KV cache.
    KvCache = Other / "kv_cache",
    NormAct = Other / "norm_act",
    Quant = Other / "quant",
    Sampling = Other / "sampling",
    /// Mixture-of-experts gating, alignment, permutation, finalisation.
    Routing = Other / "routing",
    Elementwise = Other / "elementwise",
    /// Fill, copy, concatenate, index, gather, done by kernels.
    Memory = Other / "memory",
    /// Copies by the copy engines, as CUPTI reports them.
    Memcpy = Other / "memcpy",
    /// Sets, as CUPTI reports them.
    Memset = Other / "memset",
    /// None of these, and every name no rule matches.
    Other = Other / "other",
}

impl Kind {
    /// The kind spelled `text` within `class`.
    pub fn parse(class: Class, text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.class() == class && kind.as_str() == text)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::{Class, Kind};

    #[test]
    fn every_kind_is_found_under_its_class_and_no_other() {
        for &kind in Kind::ALL {
            for class in Class::ALL {
                let expected = (kind.class() == class).then_some(kind);
                assert_eq!(Kind::parse(class, kind.as_str()), expected, "{class}/{kind}");
            }
        }
    }

    #[test]
    fn every_class_is_found_by_its_spelling() {
        for class in Class::ALL {
            assert_eq!(Class::parse(class.as_str()), Some(class));
        }
        assert_eq!(Class::parse("idle"), None);
    }
}

//! Reads the rule file and applies it: ordered, first match wins.
//!
//! A rule is one line: `class kind` and conditions that must all hold. A condition is
//! `[not] FIELD TEST ALTERNATIVE|ALTERNATIVE...`, with
//! - FIELD: `function`, `path` or `name` (see [`Parsed`]),
//! - TEST: `is`, `starts`, `ends`, `has` (anywhere), `word` (between characters that are neither
//!   letters nor digits).

use super::name::Parsed;
use super::{Class, Kind};

const RULES: &str = include_str!("rules.txt");

/// The rule that decided, by its line in `rules.txt`, and what it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    pub rule: usize,
    pub class: Class,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Function,
    Path,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Is,
    Starts,
    Ends,
    Has,
    Word,
}

#[derive(Clone, Debug)]
struct Condition {
    negated: bool,
    field: Field,
    test: Test,
    alternatives: Vec<&'static str>,
}

#[derive(Clone, Debug)]
struct Rule {
    line: usize,
    kind: Kind,
    conditions: Vec<Condition>,
}

/// The rules, read once.
#[derive(Clone, Debug)]
pub struct Classifier {
    rules: Vec<Rule>,
}

impl Default for Classifier {
    fn default() -> Self {
        // A line that cannot be read is left out; a test holds the file to having none.
        Self { rules: read(RULES).into_iter().filter_map(Result::ok).collect() }
    }
}

impl Classifier {
    /// What `name` is, or `None` when no rule knows it (then: class and kind `other`).
    pub fn classify(&self, name: &str) -> Option<Matched> {
        let parsed = Parsed::new(name);
        let rule = self.rules.iter().find(|rule| rule.matches(&parsed))?;
        Some(Matched { rule: rule.line, class: rule.kind.class(), kind: rule.kind })
    }
}

impl Rule {
    fn matches(&self, parsed: &Parsed) -> bool {
        self.conditions.iter().all(|condition| condition.holds(parsed))
    }
}

impl Condition {
    fn holds(&self, parsed: &Parsed) -> bool {
        let text = match self.field {
            Field::Function => &parsed.function,
            Field::Path => &parsed.path,
            Field::Name => &parsed.name,
        };
        let any = self.alternatives.iter().any(|&alternative| match self.test {
            Test::Is => text == alternative,
            Test::Starts => text.starts_with(alternative),
            Test::Ends => text.ends_with(alternative),
            Test::Has => text.contains(alternative),
            Test::Word => has_word(text, alternative),
        });
        any != self.negated
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
    text.match_indices(word).any(|(index, _)| {
        let after = text.get(index + word.len()..).unwrap_or("");
        free(text.get(..index).and_then(|before| before.chars().next_back()))
            && free(after.chars().next())
    })
}

/// Every line that is neither empty nor a comment, as a rule or as what is wrong with it.
fn read(text: &'static str) -> Vec<Result<Rule, String>> {
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| rule(number, line).map_err(|why| format!("line {number}: {why}")))
        .collect()
}

fn rule(line: usize, text: &'static str) -> Result<Rule, String> {
    let mut words = text.split_whitespace();
    let class = words.next().and_then(Class::parse).ok_or("unknown class")?;
    let kind = words.next().and_then(|kind| Kind::parse(class, kind)).ok_or("unknown kind")?;
    if matches!(kind, Kind::Memcpy | Kind::Memset) {
        return Err("this kind is for copy records, not for kernels".to_owned());
    }
    let mut conditions = Vec::new();
    while let Some(mut word) = words.next() {
        let negated = word == "not";
        if negated {
            word = words.next().unwrap_or("");
        }
        let field = match word {
            "function" => Field::Function,
            "path" => Field::Path,
            "name" => Field::Name,
            _ => return Err(format!("unknown field `{word}`")),
        };
        let test = match words.next().unwrap_or("") {
            "is" => Test::Is,
            "starts" => Test::Starts,
            "ends" => Test::Ends,
            "has" => Test::Has,
            "word" => Test::Word,
            word => return Err(format!("unknown test `{word}`")),
        };
        let alternatives: Vec<&str> = words.next().unwrap_or("").split('|').collect();
        let bad = |a: &str| a.is_empty() || a.chars().any(char::is_uppercase);
        if alternatives.iter().any(|alternative| bad(alternative)) {
            return Err("an alternative is empty or not in lower case".to_owned());
        }
        conditions.push(Condition { negated, field, test, alternatives });
    }
    if conditions.is_empty() {
        return Err("no condition".to_owned());
    }
    Ok(Rule { line, kind, conditions })
}

#[cfg(test)]
mod tests {
    use super::{Classifier, RULES, has_word, read, rule};
    use crate::classify::{Class, Kind};

    #[test]
    fn every_line_of_the_rule_file_reads() {
        let wrong: Vec<String> = read(RULES).into_iter().filter_map(Result::err).collect();
        assert_eq!(wrong, Vec::<String>::new());
    }

    #[test]
    fn a_wrong_line_says_why() {
        let cases = [
            ("idle dense name has x", "unknown class"),
            ("gemm mla name has x", "unknown kind"),
            ("other memset name has x", "this kind is for copy records, not for kernels"),
            ("gemm dense", "no condition"),
            ("gemm dense nam has x", "unknown field `nam`"),
            ("gemm dense name like x", "unknown test `like`"),
            ("gemm dense name has a||b", "an alternative is empty or not in lower case"),
            ("gemm dense name has A", "an alternative is empty or not in lower case"),
        ];
        for (line, expected) in cases {
            assert_eq!(rule(1, line).map(|_| ()), Err(expected.to_owned()), "{line}");
        }
    }

    #[test]
    fn a_word_stands_alone() {
        assert!(has_word("scaled_mm_kernel", "mm"));
        assert!(has_word("mm", "mm"));
        assert!(!has_word("ncclcommon", "mm"));
        assert!(has_word("comm_mm", "mm"));
    }

    fn check(name: &str, expected: Option<Kind>) {
        let found = Classifier::default().classify(name);
        assert_eq!(found.map(|matched| matched.kind), expected, "{name}");
        assert_eq!(found.map(|m| m.class), expected.map(Kind::class), "{name}");
    }

    #[test]
    fn known_traps() {
        use Kind::{
            Combine, CustomAllReduce, Decode, Dense, Elementwise, ExpertParallel, Gemv, Indexer,
            KvCache, LinearSsm, Memory, Mla, Moe, Nccl, NormAct, Prefill, Routing, Sampling,
        };
        let cases = [
            ("_gemma_rmsnorm_kernel", NormAct),
            ("void vllm::reshape_and_cache_flash_kernel<float>(float*)", KvCache),
            ("BatchDecodeWithPagedKVCacheKernel", Decode),
            ("BatchPrefillWithPagedKVCacheKernel", Prefill),
            ("void flashinfer::norm::RMSNormKernel<8u, __half>(T2*)", NormAct),
            ("void cublasLt::splitKreduce_kernel<8, 32, int>(int)", Dense),
            ("reduce_segments", Combine),
            ("void vllm::cross_device_reduce_1stage<float, 4>(vllm::RankData*)", CustomAllReduce),
            ("ncclDevKernel_AllReduce_bf16_RING(ncclDevKernelArgsStorage<4096ul>)", Nccl),
            ("ncclSymkDevKernel_AllGather_ST(ncclSymkDevWorkArgs4K)", Nccl),
            ("void deep_ep::internode_ll::dispatch<true, 3>(void*)", ExpertParallel),
            ("triton_red_fused__to_copy_add_marlin_gemm_mean_mul_pow_rsqrt_0", NormAct),
            ("triton_poi_fused_add_all_reduce_bitwise_and_embedding_3", Elementwise),
            ("triton_poi_fused_3", Elementwise),
            ("void vllm::moe::topkGating<2, 2>(float const*)", Routing),
            ("void vllm::topKPerRowDecode<1024, true>(float const*)", Indexer),
            ("_topk_topp_kernel", Sampling),
            ("_bmm_chunk_fwd_kernel", LinearSsm),
            ("bmm_kernel", Dense),
            ("bmm_Bfloat16_E4m3E4m3_Fp32_t128x8x128u2_s8_et64x8", Moe),
            ("void internal::gemvx::kernel<int, int, float>(int)", Gemv),
            ("memcpy32_post", Memory),
            ("void smxx::decode::flash_fwd_mla_combine_kernel<f>(S)", Mla),
            ("nvjet_sm100_tst_256x40_64x5_4x1_v_bz_TNT", Dense),
            ("silu_mul_fp8_quant_deep_gemm_kernel", NormAct),
            ("deep_gemm::sm90_fp8_mqa_logits<64u, 128u, false>(int)", Indexer),
        ];
        for (name, kind) in cases {
            check(name, Some(kind));
        }
        check("qzx", None);
        check("", None);
    }

    #[test]
    fn the_class_follows_from_the_kind() {
        assert_eq!(
            Classifier::default().classify("fused_moe_kernel").map(|m| m.class),
            Some(Class::Gemm)
        );
    }
}

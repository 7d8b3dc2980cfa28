//! What vLLM says of its engines, by names that its versions have used. Pure.

use std::collections::BTreeMap;

use thiserror::Error;

use super::exposition::{Exposition, Sample};

/// Engines of one server: its data-parallel ranks.
const ENGINES_MAX: usize = 1024;

/// Names of one figure, that of today's versions first.
type Names = &'static [&'static str];

/// `vllm:generation_tokens_total` from 0.4 to 0.33; a multi-process exposition of old versions leaves the suffix out.
const GENERATED: Names = &["vllm:generation_tokens_total", "vllm:generation_tokens"];
/// The same from 0.4 on.
const RUNNING: Names = &["vllm:num_requests_running"];
const WAITING: Names = &["vllm:num_requests_waiting"];

/// One engine at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Engine {
    /// Tokens generated since it started.
    pub generated: f64,
    /// Requests in a batch.
    pub running: f64,
    /// Requests that wait for one.
    pub waiting: f64,
}

/// A server at an instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// By model and engine, as vLLM labels them; without labels in old versions.
    pub engines: BTreeMap<(String, String), Engine>,
}

/// Why a text tells nothing of engines.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Incomplete {
    #[error("it shows no `{0}`: vLLM leaves it out with `--disable-log-stats`")]
    Missing(&'static str),
    #[error("`{0}` is no count")]
    Nonsense(&'static str),
    #[error("it shows more than {ENGINES_MAX} engines")]
    Engines,
}

impl Reading {
    /// # Errors
    /// When a figure is missing or cannot be true: one that is half there would be compared with whole ones.
    pub fn of(exposition: &Exposition<'_>) -> Result<Self, Incomplete> {
        let mut reading = Self::default();
        reading.take(exposition, GENERATED, |engine| &mut engine.generated)?;
        reading.take(exposition, RUNNING, |engine| &mut engine.running)?;
        reading.take(exposition, WAITING, |engine| &mut engine.waiting)?;
        Ok(reading)
    }

    /// Requests that run in all engines.
    pub fn running(&self) -> f64 {
        self.engines.values().map(|engine| engine.running).sum()
    }

    /// Tokens that all engines generated.
    pub fn generated(&self) -> f64 {
        self.engines.values().map(|engine| engine.generated).sum()
    }

    fn take(
        &mut self,
        exposition: &Exposition<'_>,
        names: Names,
        figure: fn(&mut Engine) -> &mut f64,
    ) -> Result<(), Incomplete> {
        let of = |name: &'static str| -> Vec<&Sample<'_>> {
            exposition.samples.iter().filter(|sample| sample.name == name).collect()
        };
        let found = names.iter().map(|name| of(name)).find(|found| !found.is_empty());
        let name = names.first().copied().unwrap_or_default();
        for sample in found.ok_or(Incomplete::Missing(name))? {
            if !sample.value.is_finite() || sample.value < 0.0 {
                return Err(Incomplete::Nonsense(name));
            }
            let key = (sample.label("model_name").to_owned(), sample.label("engine").to_owned());
            if self.engines.len() >= ENGINES_MAX && !self.engines.contains_key(&key) {
                return Err(Incomplete::Engines);
            }
            // Several API servers without a common folder for their figures would show one engine twice.
            *figure(self.engines.entry(key).or_default()) += sample.value;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::reading;

    fn text(engine: &str, generated: f64, running: f64) -> String {
        format!(
            "vllm:generation_tokens_total{{engine=\"{engine}\",model_name=\"m\"}} {generated}\n\
             vllm:num_requests_running{{engine=\"{engine}\",model_name=\"m\"}} {running}\n\
             vllm:num_requests_waiting{{engine=\"{engine}\",model_name=\"m\"}} 2\n\
             vllm:request_generation_tokens_sum{{engine=\"{engine}\",model_name=\"m\"}} 77\n"
        )
    }

    #[test]
    fn engines_are_told_apart() {
        let both = text("0", 100.0, 3.0) + &text("1", 50.0, 4.0);
        let found = reading(both.as_bytes()).unwrap();
        let engine = |name: &str| found.engines[&("m".to_owned(), name.to_owned())];
        assert_eq!(engine("0"), Engine { generated: 100.0, running: 3.0, waiting: 2.0 });
        assert_eq!((found.generated(), found.running()), (150.0, 7.0));
    }

    #[test]
    fn old_versions_have_no_engine() {
        let old = "vllm:generation_tokens_total{model_name=\"m\"} 5.0\n\
                   vllm:num_requests_running{model_name=\"m\"} 1.0\n\
                   vllm:num_requests_waiting{model_name=\"m\"} 0.0\n";
        let found = reading(old.as_bytes()).unwrap();
        assert_eq!((found.engines.len(), found.generated()), (1, 5.0));
    }

    #[test]
    fn what_is_not_there_is_named() {
        let missing = |name| Err(Incomplete::Missing(name));
        assert_eq!(reading(b"up 1"), missing("vllm:generation_tokens_total"));
        assert_eq!(
            reading(b"vllm:generation_tokens_total 1"),
            missing("vllm:num_requests_running")
        );
        let nonsense = text("0", -1.0, 1.0);
        let error = Incomplete::Nonsense("vllm:generation_tokens_total");
        assert_eq!(reading(nonsense.as_bytes()), Err(error));
        let many: String = (0..=ENGINES_MAX).map(|n| text(&n.to_string(), 1.0, 1.0)).collect();
        assert_eq!(reading(many.as_bytes()), Err(Incomplete::Engines));
    }
}

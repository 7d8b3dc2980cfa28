//! Question 12: what becomes of a program when the driver is told to load a library that it cannot; and what is
//! not built yet.

use std::fs;

use crate::gpu::ask::{Found, StepError};
use crate::gpu::place::{Place, last};

/// What Warplens does not do.
pub(super) fn not_built(_place: &Place) -> Result<Found, StepError> {
    Err(StepError::Cannot("not built yet".to_owned()))
}

/// A worker with a library that is not there, and with one that is none.
pub(super) fn injection(place: &Place) -> Result<Found, StepError> {
    place.needs_gpu()?;
    let none = place.folder().join("not-there.so");
    let text = place.folder().join("text.so");
    fs::write(&text, "no library\n")
        .map_err(|error| StepError::Failed(format!("{}: {error}", text.display())))?;
    let mut found = Found::default();
    for (what, path) in [("a file that is not there", &none), ("a file that is no library", &text)]
    {
        let mut command = place.command(&place.tools.worker);
        command.args(["--seconds", "1", "--rate", "100"]).env("CUDA_INJECTION64_PATH", path);
        let mut child = place.start(&mut command, "worker")?;
        let ended = place.end(&mut child, "the worker")?;
        let said = if ended.stderr.is_empty() { "nothing" } else { last(&ended.stderr) };
        let launched = ended.stdout.contains("\"event\":\"end\"");
        found = found.and(format!(
            "With {what}: the worker {} (exit status {}), and on standard error stands: {said}.",
            if launched { "ran and launched" } else { "did not launch" },
            ended.code
        ));
    }
    Ok(found)
}

//! A [`Capture`] as everything people and programs read.

#[cfg(test)]
pub(crate) mod fixture;
pub mod flame;
pub mod folded;
pub mod folder;
pub(crate) mod gaps;
pub(crate) mod host;
pub mod json;
mod layers;
pub mod markdown;
pub mod perfetto;
pub mod pprof;
pub mod prometheus;
mod rows;
mod short;
pub mod speedscope;
pub mod summary;
pub(crate) mod words;

use std::io;
use std::path::{Path, PathBuf};

use crate::capture::Capture;
pub use folder::{FolderError, OutputFolder};

pub const REPORT_JSON: &str = "report.json";
pub const REPORT_MD: &str = "report.md";
pub const CPU_SVG: &str = "cpu.svg";
pub const GPU_SVG: &str = "gpu.svg";
pub const CPU_FOLDED: &str = "cpu.folded";
pub const OFFCPU_SVG: &str = "offcpu.svg";
pub const WALL_SVG: &str = "wall.svg";
pub const GPU_FOLDED: &str = "gpu.folded";
pub const CPU_PPROF: &str = "cpu.pb.gz";
pub const OFFCPU_FOLDED: &str = "offcpu.folded";
pub const WALL_FOLDED: &str = "wall.folded";
pub const OFFCPU_PPROF: &str = "offcpu.pb.gz";
pub const WALL_PPROF: &str = "wall.pb.gz";
pub const GPU_PPROF: &str = "gpu.pb.gz";
pub const GPU_SPEEDSCOPE: &str = "gpu.speedscope.json";
pub const CPU_DIFF_SVG: &str = "cpu.diff.svg";
pub const GPU_DIFF_SVG: &str = "gpu.diff.svg";
pub const OFFCPU_DIFF_SVG: &str = "offcpu.diff.svg";
pub const MEMORY_DIFF_SVG: &str = "memory.diff.svg";
pub const MEMORY_SVG: &str = "memory.svg";
pub const MEMORY_FOLDED: &str = "memory.folded";
pub const MEMORY_PPROF: &str = "memory.pb.gz";
pub const RESIDENT_SVG: &str = "resident.svg";
pub const RESIDENT_FOLDED: &str = "resident.folded";
pub const TRACE: &str = "trace.pftrace";

#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("render {file}: please report this with the recording")]
    Render {
        file: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("render the report as JSON: please report this with the recording")]
    Json(#[source] serde_json::Error),
}

/// Writes every output but the trace into `target`, whole or not at all. Returns where they are.
pub fn write_folder(target: &Path, capture: &Capture) -> Result<PathBuf, OutputError> {
    let folder = OutputFolder::create(target)?;
    write_all(&folder, capture)?;
    Ok(folder.commit()?)
}

/// Writes every output into a folder in the making, beside what the caller puts there: the
/// recording and the trace, which are written while inputs are read.
pub fn write_all(folder: &OutputFolder, capture: &Capture) -> Result<(), OutputError> {
    let render = |file| move |source| OutputError::Render { file, source };
    folder.write(REPORT_JSON, &json::render(capture).map_err(OutputError::Json)?)?;
    folder.write(REPORT_MD, markdown::render(capture).as_bytes())?;
    folder.write(GPU_FOLDED, folded::gpu(capture).as_bytes())?;
    folder.write(CPU_FOLDED, folded::cpu(capture).as_bytes())?;
    folder.write(GPU_SVG, &flame::gpu(capture).map_err(render(GPU_SVG))?)?;
    folder.write(CPU_SVG, &flame::cpu(capture).map_err(render(CPU_SVG))?)?;
    folder.write(GPU_PPROF, &pprof::gpu(capture).map_err(render(GPU_PPROF))?)?;
    folder.write(CPU_PPROF, &pprof::cpu(capture).map_err(render(CPU_PPROF))?)?;
    folder.write(OFFCPU_FOLDED, folded::offcpu(capture).as_bytes())?;
    folder.write(WALL_FOLDED, folded::wall(capture).as_bytes())?;
    folder.write(OFFCPU_SVG, &flame::offcpu(capture).map_err(render(OFFCPU_SVG))?)?;
    folder.write(WALL_SVG, &flame::wall(capture).map_err(render(WALL_SVG))?)?;
    folder.write(OFFCPU_PPROF, &pprof::offcpu(capture).map_err(render(OFFCPU_PPROF))?)?;
    folder.write(WALL_PPROF, &pprof::wall(capture).map_err(render(WALL_PPROF))?)?;
    folder.write(GPU_SPEEDSCOPE, &speedscope::render(capture).map_err(OutputError::Json)?)?;
    if capture.has_memory_sites() {
        folder.write(MEMORY_FOLDED, folded::memory(capture).as_bytes())?;
        folder.write(MEMORY_SVG, &flame::memory(capture).map_err(render(MEMORY_SVG))?)?;
        folder.write(MEMORY_PPROF, &pprof::memory(capture).map_err(render(MEMORY_PPROF))?)?;
    }
    if capture.has_touches() {
        folder.write(RESIDENT_FOLDED, folded::touched(capture).as_bytes())?;
        folder.write(RESIDENT_SVG, &flame::resident(capture).map_err(render(RESIDENT_SVG))?)?;
    }
    Ok(())
}

/// The picture to look at first.
pub fn first_picture(capture: &Capture) -> &'static str {
    let devices = &capture.report.devices;
    let host = !capture.cpu.is_empty() || !capture.waits.is_empty();
    if host && devices.iter().all(|device| device.kernels == 0 && device.copies == 0) {
        WALL_SVG
    } else {
        GPU_SVG
    }
}

/// Writes what changed from `before` to `after` as differential flame graphs.
pub fn write_difference(
    folder: &OutputFolder,
    before: &Capture,
    after: &Capture,
) -> Result<(), OutputError> {
    let mut pictures = vec![
        (CPU_DIFF_SVG, flame::Compared::Cpu),
        (GPU_DIFF_SVG, flame::Compared::Gpu),
        (OFFCPU_DIFF_SVG, flame::Compared::OffCpu),
    ];
    if before.has_memory_sites() || after.has_memory_sites() {
        pictures.push((MEMORY_DIFF_SVG, flame::Compared::Memory));
    }
    for (file, compared) in pictures {
        let svg = flame::diff(compared, before, after);
        folder.write(file, &svg.map_err(|source| OutputError::Render { file, source })?)?;
    }
    Ok(())
}

/// Name of the trace of input number `number` of `of`: their clocks have nothing in common, so
/// each has a file of its own.
pub fn trace_name(number: usize, of: usize) -> String {
    if of == 1 { TRACE.to_owned() } else { format!("trace-{}.pftrace", number + 1) }
}

#[cfg(test)]
mod tests;

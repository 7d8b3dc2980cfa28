//! A snapshot as a folder like that of `record`, and why it was written.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use analysis::classify::Classifier;

use super::evidence::Gatherer;
use super::hang::HangEvidence;
use super::pack::UnpackError;
use super::snapshot::Snapshot;
use super::store::{self, Store, StoreError};
use super::why::{Trigger, WHY_JSON, Why, WorkerLog};
use crate::commands::one_line;
use crate::output::{self, FolderError, OutputError, OutputFolder};
use crate::pipeline::Pipeline;
use crate::recording::{self, WriteError, Writer};

/// What a dump takes at most for each compressed byte in memory: the recording, which is compressed less well.
const GROWTH: u64 = 8;

/// Reports and pictures of a window without records.
const LEAST: u64 = 4 << 20;

/// Why a dump was not written.
#[derive(Debug, thiserror::Error)]
enum DumpError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Recording(#[from] WriteError),
    #[error(transparent)]
    Unpack(#[from] UnpackError),
    #[error("render why.json: please report this")]
    Json(#[from] serde_json::Error),
}

/// A dump that lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    pub path: PathBuf,
    pub bytes: u64,
    /// How far back its window reaches, ns.
    pub window_ns: u64,
    pub trigger: &'static str,
}

/// Writes `snapshot` into `store`, whole or not at all. `number` tells dumps of one second apart. On failure: one
/// line for its reader.
pub(super) fn write(
    store: &Store,
    snapshot: &Snapshot,
    trigger: &Trigger,
    classifier: &Classifier,
    number: u64,
    logs: impl FnOnce() -> Vec<WorkerLog>,
) -> Result<Written, String> {
    // First: what hangs may be killed while the rest is written.
    let hang = match trigger {
        Trigger::Hang(hanging) => Some(HangEvidence::of(hanging)),
        Trigger::Asked | Trigger::Signal | Trigger::Crash(_) | Trigger::Alert(_) => None,
    };
    let opened = store.open().map_err(|error| one_line(&error))?;
    let dump = || -> Result<Written, DumpError> {
        let stats = snapshot.stats();
        let held = stats.ring_bytes.saturating_add(stats.standing_bytes);
        opened.make_room(held.saturating_mul(GROWTH).saturating_add(LEAST))?;
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs());
        let name = store::name(opened.name_time(unix.unwrap_or(0)), number, trigger.name());
        let folder = OutputFolder::create(&opened.base().join(&name))?;
        let mut writer = Writer::create(&folder.path(recording::FILE_NAME))?;
        let mut pipeline = Pipeline::marked().classified_by(classifier.clone());
        let mut evidence = Gatherer::default();
        snapshot.inputs(unix, |input| -> Result<(), DumpError> {
            writer.write(&input)?;
            evidence.look(&input);
            pipeline.feed(input);
            Ok(())
        })?;
        writer.finish()?;
        let window_ns = stats.reach_ns;
        let mut why = Why::new(trigger, unix, snapshot.taken().0, window_ns);
        why.workers = evidence.workers();
        why.hang = hang;
        why.logs = logs();
        let mut json = serde_json::to_vec_pretty(&why)?;
        json.push(b'\n');
        folder.write(WHY_JSON, &json)?;
        // Without the timeline: drawing it costs more than all the rest, on a machine that has other things to do.
        let capture = pipeline.finish();
        output::write_all(&folder, &capture)?;
        folder.commit()?;
        let bytes = opened.settle(&name)?;
        Ok(Written { path: store.dir.join(name), bytes, window_ns, trigger: trigger.name() })
    };
    dump().map_err(|error| opened.readable(&one_line(&error)))
}

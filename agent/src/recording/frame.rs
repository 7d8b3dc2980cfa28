//! One [`Input`] as frame bytes and back. The only place that knows bodies; total on any bytes.

use std::convert::Infallible;

use analysis::event::{DeviceInfo, ProcessInfo, Service};
use analysis::ids::{DeviceKey, Ns, ProcessKey, Thread};
use analysis::memory::Resident;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::shim::{GRAPH_ENTRY_BYTES, Payload};
use zerocopy::IntoBytes;

use super::{Counts, RECORDS_PER_FRAME};
use crate::capture::{Frame, Language};
use crate::perf::{Count, Counter, Reading};
use crate::pipeline::{Input, Start, Symbol};

const START: u8 = 1;
const DEVICE: u8 = 2;
const PROCESS: u8 = 3;
const ORDINAL: u8 = 4;
const NAME: u8 = 5;
const RECORDS: u8 = 6;
const KERNEL_EVENT: u8 = 7;
const SYMBOLS: u8 = 8;
const NOTE: u8 = 9;
const ENDED: u8 = 10;
const LIMIT: u8 = 11;
const ATTACHED: u8 = 12;
const COUNTERS: u8 = 13;
const GRAPHS: u8 = 20;
const CAPTURE_STACK: u8 = 21;
const THREAD_NAME: u8 = 22;
const UNOPENED: u8 = 23;
const CLOCK: u8 = 24;
const RESIDENT: u8 = 25;
const PAGES_GONE: u8 = 26;
const END: u8 = 255;

const PAYLOAD_BYTES: usize = size_of::<Payload>();

/// Symbols of one frame. C++ names reach 10 kB, inlined ones stand in a row: 256 stay far below
/// the longest body a reader takes.
const SYMBOLS_PER_FRAME: usize = 256;

/// Addresses of one frame.
const PAGES_PER_FRAME: usize = 4096;

/// A frame that came back from bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decoded {
    Input(Input),
    End(Counts),
}

/// Why a body is not what its kind says.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    #[error("frame of unknown kind {0}")]
    Kind(u8),
    #[error("{kind} frame of {length} bytes has the wrong length")]
    Length { kind: &'static str, length: usize },
    #[error("{kind} frame does not parse")]
    Json {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
    #[error("name is not UTF-8")]
    Text(#[source] std::str::Utf8Error),
    #[error("an end frame in the middle")]
    End,
}

/// As [`encode`], for who only collects.
pub(crate) fn encode_all(input: &Input, mut emit: impl FnMut(u8, &[u8])) {
    let ended: Result<(), Infallible> = encode(input, |kind, body| {
        emit(kind, body);
        Ok(())
    });
    match ended {
        Ok(()) => {}
    }
}

/// As [`decode`], where no end frame is expected.
pub(crate) fn decode_input(kind: u8, body: &[u8]) -> Result<Input, BodyError> {
    match decode(kind, body)? {
        Decoded::Input(input) => Ok(input),
        Decoded::End(_) => Err(BodyError::End),
    }
}

/// Calls `emit(kind, body)` for each frame `input` needs; none for a foreign event.
pub(super) fn encode<E>(
    input: &Input,
    mut emit: impl FnMut(u8, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    match input {
        Input::Start(start) => emit(START, &json(&StartBody::from(start))),
        Input::Device { device, info } => emit(
            DEVICE,
            &json(&DeviceBody {
                device: device.0,
                index: info.index,
                uuid: info.uuid.clone(),
                simulated: info.simulated,
            }),
        ),
        Input::Process { process, info } => {
            let ProcessInfo { pid, title, role, rank, server, service } = info.clone();
            let (process, service) = (process.0, service.into());
            emit(PROCESS, &json(&ProcessBody { process, pid, title, role, rank, server, service }))
        }
        Input::Ordinal { process, ordinal, device } => {
            emit(ORDINAL, [process.0, *ordinal, device.0].as_bytes())
        }
        Input::Unopened { process, ordinal } => emit(UNOPENED, [process.0, *ordinal].as_bytes()),
        Input::Name { process, id, name } => {
            emit(NAME, &[[process.0, *id].as_bytes(), name.as_bytes()].concat())
        }
        Input::ThreadName { process, thread, name } => {
            emit(THREAD_NAME, &[[process.0, thread.0].as_bytes(), name.as_bytes()].concat())
        }
        Input::Records { process, payloads } => {
            for chunk in payloads.chunks(RECORDS_PER_FRAME) {
                emit(RECORDS, &[process.0.as_bytes(), chunk.as_bytes()].concat())?;
            }
            Ok(())
        }
        Input::Graphs { process, first, entries } => {
            let mut first = *first;
            for chunk in entries.chunks(RECORDS_PER_FRAME) {
                emit(GRAPHS, &[[process.0, first].as_bytes(), chunk.as_bytes()].concat())?;
                first = first.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
            }
            Ok(())
        }
        Input::CaptureStack { process, entries, addresses } => {
            let count = u32::try_from(entries.len()).unwrap_or(u32::MAX);
            let head = [process.0, count];
            let body = [head.as_bytes(), entries.as_bytes(), addresses.as_bytes()].concat();
            emit(CAPTURE_STACK, &body)
        }
        Input::KernelEvent(bytes) => emit(KERNEL_EVENT, bytes),
        Input::Symbols { process, symbols } => {
            for chunk in symbols.chunks(SYMBOLS_PER_FRAME) {
                let symbols = chunk.iter().map(SymbolBody::from).collect();
                emit(SYMBOLS, &json(&SymbolsBody { process: process.0, symbols }))?;
            }
            Ok(())
        }
        Input::Counters { process, reading } => {
            let counts = reading.counts.iter();
            let counts = counts.map(|(counter, count)| CountBody {
                counter: counter.as_str().to_owned(),
                value: count.value,
                scaled: count.scaled,
            });
            let body = CountersBody {
                process: process.0,
                counts: counts.collect(),
                threads_left_out: reading.threads_left_out,
            };
            emit(COUNTERS, &json(&body))
        }
        Input::Resident { process, at, resident } => {
            let body = ResidentBody::new(*process, *at, *resident);
            emit(RESIDENT, &json(&body))
        }
        Input::PagesGone { process, at, pages } => {
            pages.chunks(PAGES_PER_FRAME).try_for_each(|pages| {
                let head = process_time(*process, *at);
                emit(PAGES_GONE, &[head.as_slice(), pages.as_bytes()].concat())
            })
        }
        Input::Note(note) => emit(NOTE, note.as_bytes()),
        Input::Ended { process, at } => emit(ENDED, &process_time(*process, *at)),
        Input::Attached { process, at } => emit(ATTACHED, &process_time(*process, *at)),
        Input::Limit(at) => emit(LIMIT, at.0.as_bytes()),
        Input::Clock(at) => emit(CLOCK, at.0.as_bytes()),
        Input::Foreign(_) => Ok(()),
    }
}

/// The end frame.
pub(super) fn encode_end(counts: Counts) -> (u8, Vec<u8>) {
    let Counts { frames, records, kernel_events } = counts;
    (END, [frames, records, kernel_events].as_bytes().to_vec())
}

/// Total: any kind and any bytes give a value or an error.
pub(super) fn decode(kind: u8, body: &[u8]) -> Result<Decoded, BodyError> {
    let input = match kind {
        START => Input::Start(parse::<StartBody>("start", body)?.into()),
        DEVICE => {
            let DeviceBody { device, index, uuid, simulated } = parse("device", body)?;
            Input::Device { device: DeviceKey(device), info: DeviceInfo { index, uuid, simulated } }
        }
        PROCESS => {
            let ProcessBody { process, pid, title, role, rank, server, service } =
                parse("process", body)?;
            let service = service.into();
            Input::Process {
                process: ProcessKey(process),
                info: ProcessInfo { pid, title, role, rank, server, service },
            }
        }
        ORDINAL => {
            let [process, ordinal, device] =
                words::<3, 4>("ordinal", body)?.map(u32::from_le_bytes);
            Input::Ordinal { process: ProcessKey(process), ordinal, device: DeviceKey(device) }
        }
        UNOPENED => {
            let [process, ordinal] = words::<2, 4>("unopened", body)?.map(u32::from_le_bytes);
            Input::Unopened { process: ProcessKey(process), ordinal }
        }
        NAME => {
            let (head, text) = split("name", body, 8)?;
            let [process, id] = words::<2, 4>("name", head)?.map(u32::from_le_bytes);
            let name = std::str::from_utf8(text).map_err(BodyError::Text)?.to_owned();
            Input::Name { process: ProcessKey(process), id, name }
        }
        THREAD_NAME => {
            let (head, text) = split("thread name", body, 8)?;
            let [process, thread] = words::<2, 4>("thread name", head)?.map(u32::from_le_bytes);
            let name = std::str::from_utf8(text).map_err(BodyError::Text)?.to_owned();
            Input::ThreadName { process: ProcessKey(process), thread: Thread(thread), name }
        }
        RECORDS => {
            let (head, rest) = split("records", body, 4)?;
            let [process] = words::<1, 4>("records", head)?.map(u32::from_le_bytes);
            let (chunks, tail) = rest.as_chunks::<PAYLOAD_BYTES>();
            if !tail.is_empty() {
                return Err(BodyError::Length { kind: "records", length: body.len() });
            }
            let payloads = chunks.iter().map(|bytes| array(bytes)).collect();
            Input::Records { process: ProcessKey(process), payloads }
        }
        GRAPHS => {
            let (head, rest) = split("graphs", body, 8)?;
            let [process, first] = words::<2, 4>("graphs", head)?.map(u32::from_le_bytes);
            let (chunks, tail) = rest.as_chunks::<GRAPH_ENTRY_BYTES>();
            if !tail.is_empty() {
                return Err(BodyError::Length { kind: "graphs", length: body.len() });
            }
            let entries = chunks.iter().map(|bytes| array(bytes)).collect();
            Input::Graphs { process: ProcessKey(process), first, entries }
        }
        CAPTURE_STACK => {
            let kind = "capture stack";
            let (head, rest) = split(kind, body, 8)?;
            let [process, count] = words::<2, 4>(kind, head)?.map(u32::from_le_bytes);
            let entries_bytes = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(4);
            let (entries, addresses) = split(kind, rest, entries_bytes)?;
            let (chunks, tail) = addresses.as_chunks::<8>();
            if !tail.is_empty() {
                return Err(BodyError::Length { kind, length: body.len() });
            }
            let addresses = chunks.iter().copied().map(u64::from_ne_bytes).collect();
            let entries = entries.as_chunks::<4>().0.iter().copied().map(u32::from_ne_bytes);
            Input::CaptureStack {
                process: ProcessKey(process),
                entries: entries.collect(),
                addresses,
            }
        }
        KERNEL_EVENT => Input::KernelEvent(body.to_vec()),
        SYMBOLS => {
            let SymbolsBody { process, symbols } = parse("symbols", body)?;
            Input::Symbols {
                process: ProcessKey(process),
                symbols: symbols.into_iter().map(Symbol::from).collect(),
            }
        }
        COUNTERS => {
            let body: CountersBody = parse("counters", body)?;
            // A counter of another version is left out.
            let counts = body.counts.iter().filter_map(|count| {
                let counter = Counter::parse(&count.counter)?;
                Some((counter, Count { value: count.value, scaled: count.scaled }))
            });
            let threads_left_out = body.threads_left_out;
            let reading = Reading { counts: counts.collect(), threads_left_out };
            Input::Counters { process: ProcessKey(body.process), reading }
        }
        RESIDENT => parse::<ResidentBody>("resident", body)?.into(),
        PAGES_GONE => pages_gone(body)?,
        NOTE => Input::Note(std::str::from_utf8(body).map_err(BodyError::Text)?.to_owned()),
        ENDED => {
            let (process, at) = read_process_time("ended", body)?;
            Input::Ended { process, at }
        }
        ATTACHED => {
            let (process, at) = read_process_time("attached", body)?;
            Input::Attached { process, at }
        }
        LIMIT => {
            let [at] = words::<1, 8>("limit", body)?.map(u64::from_le_bytes);
            Input::Limit(Ns(at))
        }
        CLOCK => {
            let [at] = words::<1, 8>("clock", body)?.map(u64::from_le_bytes);
            Input::Clock(Ns(at))
        }
        END => {
            let [frames, records, kernel_events] =
                words::<3, 8>("end", body)?.map(u64::from_le_bytes);
            return Ok(Decoded::End(Counts { frames, records, kernel_events }));
        }
        other => return Err(BodyError::Kind(other)),
    };
    Ok(Decoded::Input(input))
}

/// A process, a time, addresses.
fn pages_gone(body: &[u8]) -> Result<Input, BodyError> {
    const KIND: &str = "pages gone";
    let (head, tail) = split(KIND, body, 12)?;
    let (process, at) = read_process_time(KIND, head)?;
    let (pages, []) = tail.as_chunks::<8>() else {
        return Err(BodyError::Length { kind: KIND, length: body.len() });
    };
    let pages = pages.iter().map(|bytes| u64::from_ne_bytes(*bytes)).collect();
    Ok(Input::PagesGone { process, at, pages })
}

fn process_time(process: ProcessKey, at: Ns) -> Vec<u8> {
    [process.0.as_bytes(), at.0.as_bytes()].concat()
}

fn read_process_time(kind: &'static str, body: &[u8]) -> Result<(ProcessKey, Ns), BodyError> {
    let (head, tail) = split(kind, body, 4)?;
    let [process] = words::<1, 4>(kind, head)?.map(u32::from_le_bytes);
    let [at] = words::<1, 8>(kind, tail)?.map(u64::from_le_bytes);
    Ok((ProcessKey(process), Ns(at)))
}

/// The words of a record or entry, as the machine that wrote it has them.
fn array<const N: usize>(bytes: &[u8]) -> [u64; N] {
    let mut words = [0; N];
    for (word, chunk) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*chunk);
    }
    words
}

/// `N` words of `W` bytes, and nothing else.
fn words<const N: usize, const W: usize>(
    kind: &'static str,
    body: &[u8],
) -> Result<[[u8; W]; N], BodyError> {
    let (chunks, tail) = body.as_chunks::<W>();
    match (<[[u8; W]; N]>::try_from(chunks), tail.is_empty()) {
        (Ok(words), true) => Ok(words),
        _ => Err(BodyError::Length { kind, length: body.len() }),
    }
}

fn split<'b>(
    kind: &'static str,
    body: &'b [u8],
    at: usize,
) -> Result<(&'b [u8], &'b [u8]), BodyError> {
    body.split_at_checked(at).ok_or(BodyError::Length { kind, length: body.len() })
}

fn parse<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, BodyError> {
    serde_json::from_slice(body).map_err(|source| BodyError::Json { kind, source })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// Plain structs of strings and integers cannot fail to serialise; an empty body then fails to
/// parse, which a reader reports, so nothing is silently lost.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[derive(Serialize, Deserialize)]
struct StartBody {
    command: String,
    source: String,
    started_unix: Option<u64>,
    cpu_hz: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    memory_step_ns: u64,
}

impl From<&Start> for StartBody {
    fn from(start: &Start) -> Self {
        let Start { command, source, started_unix, cpu_hz, memory_step_ns } = start.clone();
        Self { command, source, started_unix, cpu_hz, memory_step_ns }
    }
}

impl From<StartBody> for Start {
    fn from(body: StartBody) -> Self {
        let StartBody { command, source, started_unix, cpu_hz, memory_step_ns } = body;
        Self { command, source, started_unix, cpu_hz, memory_step_ns }
    }
}

#[derive(Serialize, Deserialize)]
struct DeviceBody {
    device: u32,
    index: u32,
    uuid: Option<String>,
    simulated: bool,
}

#[derive(Serialize, Deserialize)]
struct ProcessBody {
    process: u32,
    pid: u32,
    title: String,
    role: String,
    rank: String,
    #[serde(default)]
    server: u32,
    #[serde(default, skip_serializing_if = "ServiceBody::is_empty")]
    service: ServiceBody,
}

#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct ServiceBody {
    model: String,
    engine: String,
    container: String,
    pod: String,
    namespace: String,
}

impl ServiceBody {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Service> for ServiceBody {
    fn from(service: Service) -> Self {
        let Service { model, engine, container, pod, namespace } = service;
        Self { model, engine, container, pod, namespace }
    }
}

impl From<ServiceBody> for Service {
    fn from(body: ServiceBody) -> Self {
        let ServiceBody { model, engine, container, pod, namespace } = body;
        Self { model, engine, container, pod, namespace }
    }
}

#[derive(Serialize, Deserialize)]
struct CountersBody {
    process: u32,
    counts: Vec<CountBody>,
    threads_left_out: u64,
}

#[derive(Serialize, Deserialize)]
struct CountBody {
    counter: String,
    value: u64,
    scaled: bool,
}

#[derive(Serialize, Deserialize)]
struct ResidentBody {
    process: u32,
    at: u64,
    anonymous: u64,
    file: u64,
    shared: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    heap: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    headroom: Option<u64>,
}

impl ResidentBody {
    fn new(process: ProcessKey, at: Ns, resident: Resident) -> Self {
        let Resident { anonymous, file, shared, heap, headroom } = resident;
        Self { process: process.0, at: at.0, anonymous, file, shared, heap, headroom }
    }
}

impl From<ResidentBody> for Input {
    fn from(body: ResidentBody) -> Self {
        let ResidentBody { process, at, anonymous, file, shared, heap, headroom } = body;
        let resident = Resident { anonymous, file, shared, heap, headroom };
        Self::Resident { process: ProcessKey(process), at: Ns(at), resident }
    }
}

#[derive(Serialize, Deserialize)]
struct SymbolsBody {
    process: u32,
    symbols: Vec<SymbolBody>,
}

#[derive(Serialize, Deserialize)]
struct SymbolBody {
    address: u64,
    frames: Vec<FrameBody>,
}

#[derive(Serialize, Deserialize)]
struct FrameBody {
    #[serde(default, skip_serializing_if = "LanguageBody::is_native")]
    language: LanguageBody,
    function: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum LanguageBody {
    #[default]
    Native,
    Python,
    Kernel,
    Remark,
}

impl LanguageBody {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
    fn is_native(&self) -> bool {
        *self == Self::Native
    }
}

impl From<Language> for LanguageBody {
    fn from(language: Language) -> Self {
        match language {
            Language::Native => Self::Native,
            Language::Python => Self::Python,
            Language::Kernel => Self::Kernel,
            Language::Remark => Self::Remark,
        }
    }
}

impl From<LanguageBody> for Language {
    fn from(language: LanguageBody) -> Self {
        match language {
            LanguageBody::Native => Self::Native,
            LanguageBody::Python => Self::Python,
            LanguageBody::Kernel => Self::Kernel,
            LanguageBody::Remark => Self::Remark,
        }
    }
}

impl From<&Symbol> for SymbolBody {
    fn from(symbol: &Symbol) -> Self {
        let frames = symbol
            .frames
            .iter()
            .cloned()
            .map(|Frame { language, function, module, file, line }| FrameBody {
                language: language.into(),
                function,
                module,
                file,
                line,
            })
            .collect();
        Self { address: symbol.address, frames }
    }
}

impl From<SymbolBody> for Symbol {
    fn from(body: SymbolBody) -> Self {
        let frames = body
            .frames
            .into_iter()
            .map(|FrameBody { language, function, module, file, line }| Frame {
                language: language.into(),
                function,
                module,
                file,
                line,
            })
            .collect();
        Self { address: body.address, frames }
    }
}

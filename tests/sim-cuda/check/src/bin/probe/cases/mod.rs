//! The cases, by name. Which environment a case needs is said where it is run (`tests/it.rs`).

mod callbacks;
mod device;
mod faults;
mod graphs;
mod injection;
mod layout;
mod memory;
mod names;
mod records;

/// Name and function of every case.
pub(crate) const ALL: &[(&str, fn())] = &[
    ("nesting", callbacks::nesting),
    ("only-what-is-enabled", callbacks::only_what_is_enabled),
    ("external-correlation", callbacks::external_correlation),
    ("correlation-wraps", callbacks::correlation_wraps),
    ("resources", callbacks::resources),
    ("layout", layout::layout),
    ("records", records::records),
    ("flush", records::flush),
    ("full-buffers", records::full_buffers),
    ("refused-buffers", records::refused_buffers),
    ("timestamp-callback", records::timestamp_callback),
    ("scenario", records::scenario),
    ("threads", records::threads),
    ("api-records", records::api_records),
    ("graph-replay", graphs::replay),
    ("graph-branches", graphs::branches),
    ("graph-children", graphs::children),
    ("graph-update", graphs::update),
    ("names-are-reused", names::reused),
    ("runtime", device::runtime),
    ("numbers", device::numbers),
    ("waiting", device::waiting),
    ("host-function", device::host_function),
    ("devices", device::devices),
    ("prescribed", device::prescribed),
    ("proc-address", device::proc_address),
    ("memory", memory::memory),
    ("virtual-memory", memory::virtual_memory),
    ("second-subscriber", faults::second_subscriber),
    ("subscribe-error", faults::subscribe_error),
    ("enable-error", faults::enable_error),
    ("no-device", faults::no_device),
    ("failing-launches", faults::failing_launches),
    ("fork", faults::fork),
    ("injection", injection::injection),
    ("injection-missing", injection::missing),
    ("cost", records::cost),
];

//! The simulated `libcupti.so.12`: everything is in `sim-cupti`, told its major when it is loaded.

/// Run by the dynamic linker, before anybody can look up a symbol.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    sim_cupti::start(12);
}

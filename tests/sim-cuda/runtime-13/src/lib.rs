//! The simulated `libcudart.so.13`: everything is in `sim-runtime`, told its major when it is loaded.

/// Run by the dynamic linker when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

extern "C" fn start() {
    sim_runtime::start(13);
}

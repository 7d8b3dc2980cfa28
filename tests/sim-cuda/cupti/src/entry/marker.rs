//! Tells the simulator from the real library.

#[unsafe(no_mangle)]
extern "C" fn warplens_simulated_cuda() -> i32 {
    1
}

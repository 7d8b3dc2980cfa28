//! Pins the library: CUDA, CUPTI, the control thread and an exit handler hold pointers into it, so
//! a host's `dlclose` must not take it away.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

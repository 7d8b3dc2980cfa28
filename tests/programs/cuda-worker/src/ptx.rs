//! The kernels' PTX text: one spinning kernel under as many names as wanted.

use std::fmt::Write as _;

/// PTX of a module with one entry per name. Each spins for its argument's nanoseconds of
/// `%globaltimer`. The simulator takes the duration from a name that ends in `__simNNNN`.
pub(crate) fn module(names: &[String]) -> String {
    let mut text = String::from(".version 7.0\n.target sm_70\n.address_size 64\n");
    for name in names {
        // Writing to a String cannot fail.
        let _infallible = write!(
            text,
            r"
.visible .entry {name}(.param .u64 {name}_duration)
{{
    .reg .u64 %rd<5>;
    .reg .pred %p<2>;
    ld.param.u64 %rd1, [{name}_duration];
    mov.u64 %rd2, %globaltimer;
SPIN:
    mov.u64 %rd3, %globaltimer;
    sub.u64 %rd4, %rd3, %rd2;
    setp.lt.u64 %p1, %rd4, %rd1;
    @%p1 bra SPIN;
    ret;
}}
"
        );
    }
    text
}

//! The exported runtime API: each function is one [`crate::session::run`] around driver calls.

#[rustfmt::skip]
mod cbid;
mod device;
mod graph;
pub(crate) mod launch;
mod memory;
mod stream;

/// Exports runtime functions.
///
/// `EFFECT NEED fn NAME | NAME_ptsz [default] (arguments) {body}`; the effect may be `(EFFECT, FUNCTION)`
/// for launches, with the kernel's handle. The body is an error number.
macro_rules! runtime_api {
    ($(
        $effect:tt $need:ident fn $name:ident $(| $ptsz:ident)? [$default:ident] $args:tt
        $body:block
    )*) => {$(
        $crate::entry::runtime_function! { $effect $need $name Legacy [$default] $args $body }
        $($crate::entry::runtime_function! { $effect $need $ptsz PerThread [$default] $args $body })?
    )*};
}

/// One exported function of [`runtime_api`].
macro_rules! runtime_function {
    ($effect:ident $($rest:tt)*) => {
        $crate::entry::runtime_function! { @ $effect, 0, $($rest)* }
    };
    (($effect:ident, $function:expr) $($rest:tt)*) => {
        $crate::entry::runtime_function! { @ $effect, $function, $($rest)* }
    };
    (
        @ $effect:ident, $function:expr, $need:ident $name:ident $variant:ident [$default:ident]
        ($($arg:ident : $type:ty),* $(,)?) $body:block
    ) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $type),*) -> $crate::session::CudaError {
            static SITE: sim_channel::Site = sim_channel::Site {
                domain: sim_channel::callback::RUNTIME,
                cbid: $crate::entry::cbid::$name,
                effect: sim_channel::Effect::$effect,
                name: sim_channel::Text::of(concat!(stringify!($name), "\0")),
            };
            /// The arguments as callbacks get them.
            #[derive(Clone, Copy)]
            #[repr(C)]
            struct Params { $($arg: $type),* }
            let params = Params { $($arg),* };
            let Params { $($arg),* } = params;
            let $default = $crate::driver::DefaultStream::$variant;
            let need = $crate::session::Need::$need;
            $crate::session::run(&SITE, (&raw const params).cast(), $function, need, || {
                let _ = $default;
                $body
            })
        }
    };
}

pub(crate) use {runtime_api, runtime_function};

//! The exported driver API. Each function is one [`crate::api::run`]: its name, its callback id, its
//! arguments as a C structure, and a body of safe Rust.

#[rustfmt::skip]
mod cbid;
mod context;
mod copy;
mod device;
mod event;
mod graph;
mod launch;
mod library;
mod memory;
mod module;
mod pool;
mod proc;
mod set;
mod stream;
mod virtual_memory;

/// A device address.
pub(crate) type DevicePtr = u64;

/// Exports driver functions.
///
/// `EFFECT fn NAME | NAME_ptsz [call, default] (arguments) {body}`: the second name, for the variant
/// whose null stream is the thread's own, is optional. The effect is a [`sim_channel::Effect`], or
/// `(EFFECT, EXPRESSION)` with the kernel name that callbacks show. The body is a `Cu`.
macro_rules! driver_api {
    ($(
        $effect:tt fn $name:ident $(| $ptsz:ident)? [$call:ident, $default:ident] $args:tt $body:block
    )*) => {$(
        $crate::entry::driver_function! { $effect $name Legacy [$call, $default] $args $body }
        $($crate::entry::driver_function! { $effect $ptsz PerThread [$call, $default] $args $body })?
    )*};
}

/// One exported function of [`driver_api`].
macro_rules! driver_function {
    ($effect:ident $($rest:tt)*) => {
        $crate::entry::driver_function! { @ $effect, std::ptr::null(), $($rest)* }
    };
    (($effect:ident, $symbol:expr) $($rest:tt)*) => {
        $crate::entry::driver_function! { @ $effect, $symbol, $($rest)* }
    };
    (
        @ $effect:ident, $symbol:expr, $name:ident $variant:ident [$call:ident, $default:ident]
        ($($arg:ident : $type:ty),* $(,)?) $body:block
    ) => {
        #[unsafe(no_mangle)]
        extern "C" fn $name($($arg: $type),*) -> $crate::error::CuResult {
            static SITE: sim_channel::Site = sim_channel::Site {
                domain: sim_channel::callback::DRIVER,
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
            let $default = $crate::stream::DefaultStream::$variant;
            $crate::api::run(&SITE, (&raw const params).cast(), $symbol, |$call| {
                let _ = ($call, $default);
                $body
            })
        }
    };
}

pub(crate) use {driver_api, driver_function};

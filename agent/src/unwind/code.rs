//! Code without unwind information whose stack is known nevertheless, by its instructions: what
//! linkers write to call other files' functions, and what signal handlers return to.

/// Bytes looked at.
pub(super) const BYTES: usize = 10;

/// What the code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// A jump to a function whose address stands in a table. Nothing is on the stack yet but the
    /// return address of the call.
    Stub,
    /// The system call that ends a signal handler. The interrupted registers are on the stack.
    SignalReturn,
}

pub(super) fn recognise(code: &[u8]) -> Option<Known> {
    // mov $15,%eax with or without sign extension; syscall
    const SIGNAL_RETURN: [&[u8]; 2] =
        [&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05], &[0xb8, 15, 0, 0, 0, 0x0f, 0x05]];
    if SIGNAL_RETURN.iter().any(|known| code.starts_with(known)) {
        return Some(Known::SignalReturn);
    }
    // endbr64, which may stand in front; bnd, which may belong to the jump; jmp *DISTANCE(%rip)
    let code = code.strip_prefix(&[0xf3, 0x0f, 0x1e, 0xfa]).unwrap_or(code);
    let code = code.strip_prefix(&[0xf2]).unwrap_or(code);
    code.starts_with(&[0xff, 0x25]).then_some(Known::Stub)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stubs_and_returns_from_signals_are_told() {
        let check = |code: &[u8], expected| assert_eq!(recognise(code), expected, "{code:02x?}");
        check(&[0xff, 0x25, 1, 2, 3, 4], Some(Known::Stub));
        check(&[0xf2, 0xff, 0x25, 1, 2, 3, 4], Some(Known::Stub));
        check(&[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25], Some(Known::Stub));
        // jmp *%rax, and a call.
        check(&[0xff, 0xe0], None);
        check(&[0xff, 0x15, 1, 2, 3, 4], None);
        check(&[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05], Some(Known::SignalReturn));
        check(&[0xb8, 15, 0, 0, 0, 0x0f, 0x05], Some(Known::SignalReturn));
        // Another system call.
        check(&[0xb8, 39, 0, 0, 0, 0x0f, 0x05], None);
        check(&[], None);
    }
}

//! The functions of a stripped C library that every thread begins in, told by their code.
//!
//! Distributions strip the symbols of glibc's internal functions, and `start_thread` and
//! `__libc_start_call_main` are internal. Without their names no stack could be told whole.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Bytes looked at before a return address: the argument's load and the call.
const BEFORE: usize = 17;
/// Bytes looked at behind it: a move and a call.
const AFTER: usize = 7;

/// Name of the function that holds the return address at `offset` of the C library `name`.
/// `is_exit` tells whether a file offset is the entry of `exit`.
pub(super) fn recognise(
    file: &File,
    name: &str,
    offset: u64,
    is_exit: impl Fn(u64) -> bool,
) -> Option<&'static str> {
    if !is_c_library(name) {
        return None;
    }
    let mut code = [0; BEFORE + AFTER];
    file.read_exact_at(&mut code, offset.checked_sub(BEFORE as u64)?).ok()?;
    let (before, after) = code.split_at(BEFORE);
    if calls_start_routine(before) {
        return Some("start_thread");
    }
    let target = passes_result_on(after).filter(|_| ends_in_indirect_call(before))?;
    is_exit(offset.checked_add(AFTER as u64)?.checked_add_signed(target)?)
        .then_some("__libc_start_call_main")
}

fn is_c_library(name: &str) -> bool {
    ["libc.so", "libc-2.", "libpthread"].iter().any(|prefix| name.starts_with(prefix))
}

/// `mov N+8(%reg),%rdi; call *N(%reg)`, also with `%fs:`: a routine called with the word behind
/// it, which is how glibc keeps a thread's routine and argument.
fn calls_start_routine(before: &[u8]) -> bool {
    let word = |bytes: &[u8]| bytes.try_into().map(u32::from_le_bytes).ok();
    let pair = |argument: Option<u32>, routine: Option<u32>| matches!((argument, routine), (Some(argument), Some(routine)) if routine.checked_add(8) == Some(argument));
    // 64 48 8b 3c 25 imm32 | 64 ff 14 25 imm32
    if let [0x64, 0x48, 0x8b, 0x3c, 0x25, a0, a1, a2, a3, 0x64, 0xff, 0x14, 0x25, routine @ ..] =
        before
    {
        return pair(word(&[*a0, *a1, *a2, *a3]), word(routine));
    }
    // 48 8b b8+reg imm32 | ff 90+reg imm32
    if let [.., 0x48, 0x8b, load, a0, a1, a2, a3, 0xff, call, r0, r1, r2, r3] = before {
        return load & 0xf8 == 0xb8
            && call & 0xf8 == 0x90
            && load & 7 == call & 7
            && pair(word(&[*a0, *a1, *a2, *a3]), word(&[*r0, *r1, *r2, *r3]));
    }
    false
}

/// `call *%reg` or `call *N(%rsp)`: how the C library reaches the program's `main`.
fn ends_in_indirect_call(before: &[u8]) -> bool {
    matches!(before, [.., 0xff, 0xd0..=0xd7] | [.., 0xff, 0x54, 0x24, _])
}

/// `mov %eax,%edi; call TARGET`: the distance to `TARGET` from the end of the call.
fn passes_result_on(after: &[u8]) -> Option<i64> {
    let [0x89, 0xc7, 0xe8, distance @ ..] = after else {
        return None;
    };
    Some(i64::from(i32::from_le_bytes(distance.try_into().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_routine_called_with_its_argument_is_told() {
        let check = |code: &[u8], expected| {
            let mut before = vec![0x90; BEFORE - code.len()];
            before.extend(code);
            assert_eq!(calls_start_routine(&before), expected, "{code:02x?}");
        };
        // glibc 2.36: mov 0x640(%rbx),%rdi; call *0x638(%rbx)
        check(&[0x48, 0x8b, 0xbb, 0x40, 6, 0, 0, 0xff, 0x93, 0x38, 6, 0, 0], true);
        // The same with another register in the call, and with words that are not neighbours.
        check(&[0x48, 0x8b, 0xbb, 0x40, 6, 0, 0, 0xff, 0x90, 0x38, 6, 0, 0], false);
        check(&[0x48, 0x8b, 0xbb, 0x48, 6, 0, 0, 0xff, 0x93, 0x38, 6, 0, 0], false);
        // glibc 2.31 to 2.35: mov %fs:0x648,%rdi; call *%fs:0x640
        check(
            &[0x64, 0x48, 0x8b, 0x3c, 0x25, 0x48, 6, 0, 0, 0x64, 0xff, 0x14, 0x25, 0x40, 6, 0, 0],
            true,
        );
        check(
            &[0x64, 0x48, 0x8b, 0x3c, 0x25, 0x40, 6, 0, 0, 0x64, 0xff, 0x14, 0x25, 0x40, 6, 0, 0],
            false,
        );
        check(&[0xff, 0xd0], false);
    }

    #[test]
    fn a_result_passed_on_is_told() {
        assert_eq!(passes_result_on(&[0x89, 0xc7, 0xe8, 0xfe, 0xff, 0xff, 0xff]), Some(-2));
        assert_eq!(passes_result_on(&[0x89, 0xc6, 0xe8, 0, 0, 0, 0]), None);
    }
}

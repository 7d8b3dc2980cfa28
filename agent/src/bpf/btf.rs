//! Where a field lies in a structure of the running kernel, by the kernel's own type information
//! (BTF). Pure over the bytes of `/sys/kernel/btf/vmlinux`; any bytes give an answer or none.
//!
//! Only the one question is answered, in one pass and without a model of all types, of which a
//! kernel has some 150 000.

/// Kinds of `linux/btf.h` with data behind the common twelve bytes.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const ENUM64: u32 = 19;
    /// Later kinds have an unknown length, so nothing behind one can be read.
    pub(super) const LAST: u32 = 19;
}

const MAGIC: u16 = 0xeb9f;
/// Bytes of a type before its members.
const TYPE: usize = 12;
/// Bytes of a member of a structure or union.
const MEMBER: usize = 12;
/// Unnamed structures within each other. The kernel's randomised layout nests one.
const DEPTH: u32 = 4;

/// Offset in bytes of `path` in `structure`: a field, or a field of the structure that is a field,
/// also where an unnamed structure within holds it. `None`: not there, a bit field, or bytes that
/// are no BTF of this machine's byte order.
pub(super) fn field_offset(btf: &[u8], structure: &str, path: &[&str]) -> Option<u32> {
    let types = Types::parse(btf)?;
    let (mut position, _) = types.walk().find(|&(position, header)| {
        header.kind == kind::STRUCT && types.name(position) == Some(structure.as_bytes())
    })?;
    let mut bits = 0_u32;
    for (depth, name) in path.iter().enumerate() {
        let field = types.field(position, name, DEPTH)?;
        bits = bits.checked_add(field.bits)?;
        if depth + 1 < path.len() {
            position = types.structure(field.kind)?;
        }
    }
    (bits.is_multiple_of(8) && !path.is_empty()).then_some(bits / 8)
}

/// Where a field lies, and the number of its type.
#[derive(Clone, Copy)]
struct Field {
    bits: u32,
    kind: u32,
}

struct Types<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    members: usize,
    /// Offsets of members hold the width of a bit field in their upper byte.
    bit_fields: bool,
}

impl<'a> Types<'a> {
    fn parse(btf: &'a [u8]) -> Option<Self> {
        let magic = u16::from_ne_bytes([*btf.first()?, *btf.get(1)?]);
        if magic != MAGIC {
            return None;
        }
        let start = index(word(btf, 4)?)?;
        let part = |at: usize| -> Option<&'a [u8]> {
            let from = start.checked_add(index(word(btf, at)?)?)?;
            btf.get(from..from.checked_add(index(word(btf, at + 4)?)?)?)
        };
        Some(Self { types: part(8)?, strings: part(16)? })
    }

    fn header(&self, position: usize) -> Option<Header> {
        let info = word(self.types, position.checked_add(4)?)?;
        Some(Header {
            kind: info >> 24 & 0x1f,
            members: index(info & 0xffff)?,
            bit_fields: info >> 31 == 1,
        })
    }

    /// Every type's position, in order of its number, which begins at 1.
    fn walk(&self) -> impl Iterator<Item = (usize, Header)> + '_ {
        let mut position = 0;
        std::iter::from_fn(move || {
            let here = position;
            let header = self.header(here)?;
            let behind = match header.kind {
                kind::INT | kind::VAR | kind::DECL_TAG => 4,
                kind::ARRAY => 12,
                kind::STRUCT | kind::UNION => header.members * MEMBER,
                kind::DATASEC | kind::ENUM64 => header.members * 12,
                kind::ENUM | kind::FUNC_PROTO => header.members * 8,
                0..=kind::LAST => 0,
                _ => return None,
            };
            position = here + TYPE + behind;
            Some((here, header))
        })
    }

    /// The string a type or a member begins with the offset of.
    fn name(&self, position: usize) -> Option<&'a [u8]> {
        let start = index(word(self.types, position)?)?;
        self.strings.get(start..)?.split(|&byte| byte == 0).next()
    }

    /// The position of a structure or union by its number.
    fn structure(&self, number: u32) -> Option<usize> {
        let (position, header) = self.walk().nth(index(number)?.checked_sub(1)?)?;
        matches!(header.kind, kind::STRUCT | kind::UNION).then_some(position)
    }

    fn field(&self, position: usize, field: &str, depth: u32) -> Option<Field> {
        let header = self.header(position)?;
        (0..header.members).find_map(|member| {
            let member = position + TYPE + member * MEMBER;
            let offset = word(self.types, member + 8)?;
            let kind = word(self.types, member + 4)?;
            let (width, offset) =
                if header.bit_fields { (offset >> 24, offset & 0xff_ffff) } else { (0, offset) };
            match self.name(member)? {
                name if name == field.as_bytes() => {
                    (width == 0).then_some(Field { bits: offset, kind })
                }
                [] if depth > 0 => {
                    let within = self.field(self.structure(kind)?, field, depth - 1)?;
                    Some(Field { bits: offset.checked_add(within.bits)?, ..within })
                }
                _ => None,
            }
        })
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn index(number: u32) -> Option<usize> {
    usize::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, prop, proptest};

    const STRINGS: &[u8] = b"\0task_struct\0flags\0pid\0other\0thread\0";
    const TASK: u32 = 1;
    const FLAGS: u32 = 13;
    const PID: u32 = 19;
    const OTHER: u32 = 23;
    const THREAD: u32 = 29;

    fn info(kind: u32, members: u32, bit_fields: bool) -> u32 {
        u32::from(bit_fields) << 31 | kind << 24 | members
    }

    fn btf(types: &[u32]) -> Vec<u8> {
        let types: Vec<u8> = types.iter().flat_map(|word| word.to_ne_bytes()).collect();
        let length = u32::try_from(types.len()).unwrap();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let strings = u32::try_from(STRINGS.len()).unwrap();
        for word in [24, 0, length, length, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(types);
        bytes.extend(STRINGS);
        bytes
    }

    #[test]
    fn a_field_is_found_wherever_the_compiler_put_it() {
        let int = [OTHER, info(kind::INT, 0, false), 4, 32];
        let plain = [TASK, info(kind::STRUCT, 2, false), 64, FLAGS, 1, 0, PID, 1, 320];
        let bytes = btf(&[&int[..], &plain].concat());
        assert_eq!(field_offset(&bytes, "task_struct", &["pid"]), Some(40));
        assert_eq!(field_offset(&bytes, "task_struct", &["absent"]), None);
        assert_eq!(field_offset(&bytes, "absent", &["pid"]), None);

        let unnamed = [0, info(kind::STRUCT, 2, true), 16, FLAGS, 1, 1 << 24 | 3, PID, 1, 64];
        let outer = [TASK, info(kind::STRUCT, 2, true), 64, OTHER, 1, 0, 0, 2, 128];
        let bytes = btf(&[&int[..], &unnamed, &outer].concat());
        assert_eq!(field_offset(&bytes, "task_struct", &["pid"]), Some(24));
        // Three bits into a word: no byte offset says where that is.
        assert_eq!(field_offset(&bytes, "task_struct", &["flags"]), None);
    }

    #[test]
    fn a_field_of_a_field_is_found() {
        let int = [OTHER, info(kind::INT, 0, false), 4, 32];
        let inner = [OTHER, info(kind::STRUCT, 2, false), 64, FLAGS, 1, 0, PID, 1, 128];
        let outer = [TASK, info(kind::STRUCT, 2, false), 64, OTHER, 1, 0, THREAD, 2, 256];
        let bytes = btf(&[&int[..], &inner, &outer].concat());
        let offset = |path: &[&str]| field_offset(&bytes, "task_struct", path);
        assert_eq!(offset(&["thread", "pid"]), Some(48));
        assert_eq!(offset(&["thread", "absent"]), None);
        // No structure: nothing is in it.
        assert_eq!(offset(&["other", "pid"]), None);
        assert_eq!(offset(&[]), None);
    }

    #[test]
    fn this_kernel_tells() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            println!("SKIP btf: /sys/kernel/btf/vmlinux cannot be read");
            return;
        };
        let pid = field_offset(&bytes, "task_struct", &["pid"]).unwrap();
        let tgid = field_offset(&bytes, "task_struct", &["tgid"]).unwrap();
        assert_eq!(tgid, pid + 4, "neighbours in every kernel's source");
        let field = |name| field_offset(&bytes, "task_struct", &["thread", name]).unwrap();
        assert_eq!(field("gsbase"), field("fsbase") + 8, "likewise");
        assert!(field_offset(&bytes, "task_struct", &["se", "sum_exec_runtime"]).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(
            types in prop::collection::vec(any::<u32>(), 0..64),
            rest in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            let _ = field_offset(&btf(&types), "task_struct", &["pid"]);
            let _ = field_offset(&rest, "task_struct", &["pid"]);
            let _ = field_offset(&btf(&types), "task_struct", &["thread", "pid"]);
        }
    }
}

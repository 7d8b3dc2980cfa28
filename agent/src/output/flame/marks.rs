//! Marks on the names of frames. inferno colours frames by name and merges equal ones, so a frame whose
//! looks depend on its place carries the number of its node behind its name while it is drawn: two
//! characters of Unicode's private use area, which names have none of then. They are taken off
//! the finished picture, and in their tooltips a note takes their place.

use super::draw;

/// First and number of the characters that numbers are written in, base [`BASE`].
const FIRST: u32 = 0xe000;
const BASE: u32 = 6_400;

fn is_mark(character: char) -> bool {
    (FIRST..FIRST + BASE).contains(&u32::from(character))
}

/// The frame of node number `node` as inferno takes it.
pub(super) fn frame_text(name: &str, node: u32, out: &mut String) {
    let name: String = name.chars().filter(|&character| !is_mark(character)).collect();
    draw::frame_text(&name, out);
    // 41 million frames do not fit into a picture; beyond, numbers begin again.
    for digit in [node / BASE % BASE, node % BASE] {
        out.extend(char::from_u32(FIRST + digit));
    }
}

/// Takes the marks off, and puts each node's note at the end of its tooltip.
pub(super) fn resolve<'n>(svg: &mut Vec<u8>, note: impl Fn(usize) -> Option<&'n str>) {
    let Ok(text) = std::str::from_utf8(svg) else {
        return;
    };
    let mut resolved = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, title)) = rest.split_once("<title>") {
        let Some((title, after)) = title.split_once("</title>") else {
            break;
        };
        push_plain(before, &mut resolved);
        resolved.push_str("<title>");
        let node = node_of(title);
        let told = node.and_then(&note);
        match (title.strip_suffix(')'), told) {
            (Some(open), Some(note)) => {
                push_plain(open, &mut resolved);
                resolved.push_str("; ");
                resolved.push_str(note);
                resolved.push(')');
            }
            _ => push_plain(title, &mut resolved),
        }
        resolved.push_str("</title>");
        rest = after;
    }
    push_plain(rest, &mut resolved);
    *svg = resolved.into_bytes();
}

fn push_plain(text: &str, out: &mut String) {
    out.extend(text.chars().filter(|&character| !is_mark(character)));
}

fn node_of(title: &str) -> Option<usize> {
    let mut digits = title.chars().filter(|&c| is_mark(c)).map(|c| u32::from(c) - FIRST);
    let (high, low) = (digits.next()?, digits.next()?);
    usize::try_from(high * BASE + low).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_come_off_and_leave_their_note() {
        let mut name = String::new();
        frame_text("f\u{e123}oo", 6_401, &mut name);
        assert_eq!(name.chars().count(), 5);
        let mut svg = format!(
            "<g><title>{name} (3 samples, 1.00%)</title><text>{}..</text></g>",
            &name[..name.len() - 3]
        )
        .into_bytes();
        resolve(&mut svg, |node| (node == 6_401).then_some("new"));
        assert_eq!(
            String::from_utf8(svg).unwrap(),
            "<g><title>foo (3 samples, 1.00%; new)</title><text>foo..</text></g>"
        );
    }

    #[test]
    fn frames_without_a_mark_stay_as_they_are() {
        let mut svg = b"<title>all (3 samples, 100%)</title>".to_vec();
        resolve(&mut svg, |_| Some("new"));
        assert_eq!(svg, b"<title>all (3 samples, 100%)</title>");
    }
}

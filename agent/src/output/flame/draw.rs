//! The visible frames as an SVG, by inferno; colours and legend are ours.

use std::fmt::Write as _;
use std::io;

use analysis::classify::Class;
use analysis::wait::WaitReason;
use inferno::flamegraph::{self, Options, TextTruncateDirection, color::PaletteMap};

use super::marks;
use super::prune::{self, Source, Tree};
use crate::output::folded::sanitize;
use crate::output::layers::Layer;
use crate::output::rows::Tint;

/// What a picture says besides its frames.
#[derive(Clone, Debug)]
pub struct Picture {
    pub title: String,
    pub subtitle: String,
    /// Of the values, such as `ns`.
    pub unit: String,
    /// Stands in place of the picture when there is no value.
    pub empty: String,
    /// What colours stand for, explained below the picture: words and red, green, blue.
    pub legend: Vec<(String, [u8; 3])>,
}

/// Light enough for black text, told apart also without red and green.
pub(super) fn colour(tint: Tint) -> [u8; 3] {
    match tint {
        Tint::Gpu => [207, 216, 220],
        Tint::Process => [225, 230, 233],
        Tint::Thread => [236, 239, 241],
        Tint::Host => [246, 231, 203],
        Tint::Python => [255, 214, 140],
        Tint::Kernel => [196, 204, 214],
        Tint::Marker => [232, 213, 183],
        Tint::Layer(layer) => layer_colour(layer),
        Tint::Waiting(reason) => waiting_colour(reason),
        Tint::Class(Class::Attention) => [122, 174, 243],
        Tint::Class(Class::Gemm) => [138, 208, 143],
        Tint::Class(Class::Communication) => [245, 143, 131],
        Tint::Class(Class::Other) => [243, 213, 92],
        Tint::Idle => [238, 238, 238],
        Tint::Unobserved => [203, 184, 232],
    }
}

/// The colour of one name: shades of its tint, so that neighbours are told apart.
pub(super) fn shade(tint: Tint, name: &str) -> [u8; 3] {
    let hash =
        name.bytes().fold(0u16, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    // 92 to 100 per cent.
    let share = 92 + hash % 9;
    colour(tint).map(|part| u8::try_from(u16::from(part) * share / 100).unwrap_or(part))
}

/// Down the layers from blue over green to red, which is what vLLM rests on.
fn layer_colour(layer: Layer) -> [u8; 3] {
    match layer {
        Layer::ApiServer => [170, 201, 240],
        Layer::EngineCore => [140, 214, 226],
        Layer::Executor => [150, 214, 200],
        Layer::Worker => [178, 222, 178],
        Layer::ModelRunner => [150, 205, 120],
        Layer::ModelLayers => [214, 225, 110],
        Layer::Attention => [120, 170, 235],
        Layer::Sampler => [242, 178, 204],
        Layer::Extensions => [112, 196, 140],
        Layer::Torch => [250, 178, 150],
        Layer::Cuda => [236, 150, 120],
    }
}

/// Colder and greyer than what runs, but for the interpreter lock.
fn waiting_colour(reason: WaitReason) -> [u8; 3] {
    match reason {
        WaitReason::Unknown => [200, 200, 200],
        WaitReason::Lock => [165, 172, 220],
        WaitReason::Gil => [240, 128, 120],
        WaitReason::Io => [190, 172, 160],
        WaitReason::Sleep => [226, 226, 226],
        WaitReason::Cuda => [190, 165, 222],
        WaitReason::Network => [160, 195, 215],
        WaitReason::Queue => [128, 180, 190],
        WaitReason::Child => [212, 208, 190],
    }
}

/// What decides how a frame looks.
pub(super) enum Look<'l> {
    /// Its name, which has one colour everywhere.
    ByName(&'l dyn Source),
    /// Its place: one for each node of the tree.
    ByNode(&'l [NodeLook]),
}

/// How the frame of one node looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeLook {
    pub(super) colour: [u8; 3],
    /// Stands behind the frame's value.
    pub(super) note: String,
}

/// Draws `source`. Takes two walks over it and memory for what is drawn.
pub fn render(source: &dyn Source, picture: &Picture) -> io::Result<Vec<u8>> {
    draw(&prune::prune(source)?, picture, &Look::ByName(source))
}

/// Draws what is left of the stacks.
pub(super) fn draw(tree: &Tree, picture: &Picture, look: &Look<'_>) -> io::Result<Vec<u8>> {
    let total = tree.nodes.first().map_or(0, |root| root.total);
    if total == 0 {
        return Ok(empty(picture));
    }
    let mut palette = PaletteMap::default();
    // The frame of all.
    palette.insert("", colour(Tint::Gpu).into());
    match look {
        Look::ByName(source) => {
            for name in &tree.names {
                let mut text = String::new();
                frame_text(name, &mut text);
                palette.insert(text, source.colour(name).into());
            }
        }
        Look::ByNode(looks) => {
            for ((index, node), look) in (0..).zip(&tree.nodes).zip(*looks) {
                let mut text = String::new();
                marks::frame_text(tree.name(node).unwrap_or_default(), index, &mut text);
                palette.insert(text, look.colour.into());
            }
        }
    }
    let marked = matches!(look, Look::ByNode(_));
    let mut options = Options::default();
    options.title.clone_from(&picture.title);
    options.subtitle = Some(match tree.threshold {
        0 => picture.subtitle.clone(),
        least => format!("{}; frames under {least} {} not drawn", picture.subtitle, picture.unit),
    });
    options.count_name.clone_from(&picture.unit);
    "Frame:".clone_into(&mut options.name_type);
    // Every character of a monospaced font is about 0.6 of its size wide: text stays in its frame.
    "monospace".clone_into(&mut options.font_type);
    options.font_width = 0.61;
    options.frame_height = 17;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.min_width = 0.0;
    options.palette_map = Some(&mut palette);
    options.bgcolors = Some(flamegraph::color::BackgroundColor::Flat([255, 255, 255].into()));
    // Its only effects are that lines come in reverse and keep our order; sorted text would split
    // a frame that has children and time of its own.
    options.flame_chart = true;
    let mut lines = lines(tree, marked);
    lines.reverse();
    let mut svg = Vec::new();
    flamegraph::from_lines(&mut options, lines.iter().map(String::as_str), &mut svg)?;
    if let Look::ByNode(looks) = look {
        marks::resolve(&mut svg, |node| looks.get(node).map(|look| look.note.as_str()));
    }
    if !picture.legend.is_empty() {
        insert_legend(&mut svg, &picture.legend);
    }
    Ok(svg)
}

/// Folded lines, depth first: by name, with idle, unobserved and waiting time at the end.
fn lines(tree: &Tree, marked: bool) -> Vec<String> {
    let mut lines = Vec::new();
    let mut path = String::new();
    let text = if marked {
        marks::frame_text
    } else {
        |name: &str, _, out: &mut String| frame_text(name, out)
    };
    walk(tree, 0, &mut path, &mut lines, text);
    lines
}

/// As deep as the deepest drawn stack, which the frames kept of a sample bound.
fn walk(
    tree: &Tree,
    node: u32,
    path: &mut String,
    lines: &mut Vec<String>,
    text: fn(&str, u32, &mut String),
) {
    let Some(here) = tree.nodes.get(node as usize) else {
        return;
    };
    let mut children: Vec<(bool, &str, u32)> = here
        .children
        .iter()
        .filter_map(|&child| {
            let name = tree.names.get(tree.nodes.get(child as usize)?.name as usize)?;
            let late = ["[idle", "[unobserved", "[waiting", "[only before"]
                .iter()
                .any(|start| name.starts_with(start));
            Some((late, name.as_str(), child))
        })
        .collect();
    children.sort_unstable();
    let below: u64 = children
        .iter()
        .filter_map(|&(_, _, child)| tree.nodes.get(child as usize))
        .map(|child| child.total)
        .sum();
    let own = here.total.saturating_sub(below);
    if own > 0 && !path.is_empty() {
        lines.push(format!("{path} {own}"));
    }
    let length = path.len();
    for (_, name, child) in children {
        if length > 0 {
            path.push(';');
        }
        text(name, child, path);
        walk(tree, child, path, lines, text);
        path.truncate(length);
    }
}

/// A frame as inferno takes it: a last word of digits would be read as a second value, so the
/// spaces do not break.
pub(super) fn frame_text(name: &str, out: &mut String) {
    let mut text = String::new();
    sanitize(name, &mut text);
    if text.is_empty() {
        text.push('?');
    }
    let last = text.rsplit(' ').next().unwrap_or_default();
    if text.contains(' ')
        && last.chars().all(|character| character.is_ascii_digit() || character == '.')
    {
        text = text.replace(' ', "\u{a0}");
    }
    out.push_str(text.trim());
}

/// Boxes with their meaning, in rows below inferno's picture. Its script looks at widths only, so
/// that a taller picture does not concern it.
fn insert_legend(svg: &mut Vec<u8>, legend: &[(String, [u8; 3])]) {
    const ROW: usize = 18;
    const WIDTH: usize = 1190;
    let advance = |text: &str| 28 + text.len() * 7;
    let mut rows = 1;
    let mut left = 10;
    for (text, _) in legend {
        if left + advance(text) > WIDTH {
            (rows, left) = (rows + 1, 10);
        }
        left += advance(text);
    }
    let strip = rows * ROW + 6;
    let Ok(text) = std::str::from_utf8(svg) else {
        return;
    };
    let Some(height) = text
        .split_once(" height=\"")
        .and_then(|(_, rest)| rest.split_once('"'))
        .and_then(|(number, _)| number.parse::<usize>().ok())
    else {
        return;
    };
    let taller = height + strip;
    let mut text = text
        .replacen(&format!(" height=\"{height}\""), &format!(" height=\"{taller}\""), 1)
        .replacen(&format!(" {height}\""), &format!(" {taller}\""), 1);
    let mut top = height + 4;
    let mut drawn = format!(
        "<g id=\"legend\"><rect x=\"0\" y=\"{height}\" width=\"100%\" height=\"{strip}\" fill=\"white\"/>"
    );
    let mut left = 10;
    for (text, [r, g, b]) in legend {
        if left + advance(text) > WIDTH {
            (top, left) = (top + ROW, 10);
        }
        let part = write!(
            drawn,
            "<rect x=\"{left}\" y=\"{top}\" width=\"11\" height=\"11\" fill=\"rgb({r},{g},{b})\" \
             stroke=\"#888\" stroke-width=\"0.5\"/><text x=\"{}\" y=\"{}\">{text}</text>",
            left + 15,
            top + 10
        );
        if part.is_err() {
            return;
        }
        left += advance(text);
    }
    drawn.push_str("</g>");
    if let Some(end) = text.rfind("</svg>") {
        text.insert_str(end, &drawn);
        *svg = text.into_bytes();
    }
}

fn empty(picture: &Picture) -> Vec<u8> {
    let mut escaped = [String::new(), String::new()];
    for (text, out) in [&picture.title, &picture.empty].into_iter().zip(&mut escaped) {
        sanitize(text, out);
        *out = out.replace('&', "&amp;").replace('<', "&lt;");
    }
    let [title, message] = escaped;
    format!(
        "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1200\" height=\"90\">\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\
         <g font-family=\"monospace\" text-anchor=\"middle\">\
         <text x=\"50%\" y=\"34\" font-size=\"16\">{title}</text>\
         <text x=\"50%\" y=\"64\" font-size=\"12\">{message}</text></g></svg>\n"
    )
    .into_bytes()
}

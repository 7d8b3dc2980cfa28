use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Keeps everything, for comparison.
#[derive(Debug, Default, PartialEq)]
struct Kept {
    events: Vec<[String; 9]>,
    members: Vec<(String, Value)>,
    strange: u64,
}

fn owned(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

impl Taker for Kept {
    type Error = ();

    fn event(&mut self, record: &Record<'_>) -> Result<(), ()> {
        let Record { category, phase, name, pid, tid, ts, dur, arguments } = record;
        self.events.push([
            format!("{category:?}"),
            owned(phase),
            owned(name),
            owned(pid),
            owned(tid),
            owned(ts),
            owned(dur),
            owned(arguments.device),
            owned(arguments.dims),
        ]);
        Ok(())
    }

    fn member(&mut self, key: &[u8], value: &[u8]) {
        self.members.push((owned(key), serde_json::from_slice(value).unwrap_or_default()));
    }

    fn strange(&mut self) {
        self.strange += 1;
    }
}

/// Gives text in pieces of the given sizes, over and over.
struct Pieces<'t> {
    text: &'t [u8],
    sizes: Vec<usize>,
    next: usize,
}

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes.get(self.next % self.sizes.len()).copied().unwrap_or(1).max(1);
        self.next += 1;
        let count = size.min(buffer.len()).min(self.text.len());
        let (now, later) = self.text.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.text = later;
        Ok(count)
    }
}

fn parse(text: &[u8]) -> (Kept, String) {
    in_pieces(text, vec![usize::MAX])
}

fn in_pieces(text: &[u8], sizes: Vec<usize>) -> (Kept, String) {
    let mut kept = Kept::default();
    let end = read(Pieces { text, sizes, next: 0 }, &mut kept).unwrap();
    (kept, format!("{end:?}"))
}

/// What a parser that shares nothing with this one finds.
fn expected(document: &Value) -> Kept {
    let mut kept = Kept::default();
    let events = match document {
        Value::Array(events) => events.clone(),
        Value::Object(members) => {
            for (key, value) in members {
                if key != "traceEvents" {
                    kept.members.push((key.clone(), value.clone()));
                }
            }
            members["traceEvents"].as_array().unwrap().clone()
        }
        _ => panic!("not a document"),
    };
    let text = |value: &Value| if value.is_null() { String::new() } else { value.to_string() };
    for event in &events {
        if !event.is_object() {
            kept.strange += 1;
            continue;
        }
        let category = match event["cat"].as_str() {
            None => "Untold",
            Some("kernel") => "Kernel",
            Some("cpu_op") => "Operator",
            Some(_) => "Other",
        };
        // Either key, see `text_of`.
        let arguments = if event["args"].is_null() { &event[LAST_ARGS] } else { &event["args"] };
        kept.events.push([
            category.to_owned(),
            text(&event["ph"]),
            text(&event["name"]),
            text(&event["pid"]),
            text(&event["tid"]),
            text(&event["ts"]),
            text(&event["dur"]),
            text(&arguments["device"]),
            text(&arguments["Input Dims"]),
        ]);
    }
    kept
}

/// `serde_json` writes members by name; under this one the arguments come behind the category, as
/// Kineto writes them.
const LAST_ARGS: &str = "z_args";

fn text_of(document: &Value, pretty: bool) -> String {
    let text =
        if pretty { serde_json::to_string_pretty(document).unwrap() } else { document.to_string() };
    text.replace(LAST_ARGS, "args")
}

/// Without what readers of the same text may differ in.
fn comparable(mut kept: Kept, pretty: bool) -> Kept {
    for event in &mut kept.events {
        if event[0] == "Other" {
            // Whether they are read depends on what comes first.
            event[7].clear();
            event[8].clear();
        }
        if pretty {
            // White space inside values is theirs.
            event[2].clear();
            event[8].clear();
        }
    }
    kept
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        any::<i64>().prop_map(|number| json!(number)),
        (0..1_000_000_u32).prop_map(|number| json!(f64::from(number) / 8.0)),
        "[a-z\"\\\\\\[\\]{},: \u{e9}\u{1f600}\n]{0,24}".prop_map(|text| json!(text)),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[a-z\"\\\\{]{1,5}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = Value> {
    let category = prop_oneof![Just("kernel"), Just("cpu_op"), Just("ac2g")];
    (category, anything(), anything(), anything(), any::<[bool; 4]>()).prop_map(
        |(category, name, extra, dims, [has_category, has_arguments, last, odd])| {
            let mut event = json!({
                "ph": "X", "name": name, "pid": 1, "tid": 2, "ts": 12.5, "dur": 1, "extra": extra,
            });
            if has_category {
                event["cat"] = json!(category);
            }
            if has_arguments {
                let key = if last { LAST_ARGS } else { "args" };
                event[key] = json!({"device": 3, "Input Dims": dims, "more": extra});
            }
            if odd { extra } else { event }
        },
    )
}

fn document() -> impl Strategy<Value = Value> {
    (prop::collection::vec(event(), 0..12), anything(), anything(), any::<bool>()).prop_map(
        |(events, first, last, bare)| {
            if bare { json!(events) } else { json!({"a": first, "traceEvents": events, "z": last}) }
        },
    )
}

proptest! {
    #[test]
    fn what_is_read_is_what_another_parser_reads(document in document(), pretty in any::<bool>()) {
        let (kept, end) = parse(text_of(&document, pretty).as_bytes());
        prop_assert_eq!(end, "Whole");
        let expected = comparable(expected(&document), pretty);
        prop_assert_eq!(comparable(kept, pretty), expected);
    }

    #[test]
    fn pieces_of_any_size_make_no_difference(
        document in document(),
        sizes in prop::collection::vec(1..40_usize, 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = text_of(&document, false);
        let text = &text.as_bytes()[..cut.index(text.len() + 1)];
        prop_assert_eq!(in_pieces(text, sizes), parse(text));
    }

    #[test]
    fn a_cut_text_gives_the_events_before_the_cut(
        document in document(),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = text_of(&document, false);
        let (whole, _) = parse(text.as_bytes());
        let at = cut.index(text.len());
        let (part, end) = parse(&text.as_bytes()[..at]);
        prop_assert_eq!(end, format!("Cut {{ at: {at}, error: None }}"));
        prop_assert_eq!(&whole.events[..part.events.len()], &part.events[..]);
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..300)) {
        parse(&text);
    }

    #[test]
    fn damaged_documents_never_panic(
        document in document(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        sizes in prop::collection::vec(1..40_usize, 1..6),
    ) {
        let mut text = text_of(&document, false).into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        prop_assert_eq!(in_pieces(&text, sizes), parse(&text));
    }
}

#[test]
fn damage_is_where_it_is() {
    for (text, expected) in [
        ("", "Cut { at: 0, error: None }"),
        ("   ", "Cut { at: 3, error: None }"),
        ("hello", "Damaged { at: 0, byte: 104 }"),
        ("{\"traceEvents\": [{\"a\" 1}]}", "Damaged { at: 22, byte: 49 }"),
        ("{\"traceEvents\": [{\"a\": ,}]}", "Damaged { at: 23, byte: 44 }"),
        ("{\"traceEvents\": {}}", "NoEvents"),
        ("{}", "NoEvents"),
        ("{\"a\":1 x}", "Damaged { at: 7, byte: 120 }"),
        ("\u{feff}[]", "Whole"),
        // As some writers end their list.
        ("[{\"ph\":\"X\"},]", "Whole"),
    ] {
        assert_eq!(parse(text.as_bytes()).1, expected, "{text}");
    }
}

#[test]
fn too_long_an_event_is_passed_over_and_counted() {
    let long = format!("\"a\\\"b}}]{}\"", "x".repeat(EVENT_MAX + 10));
    let text = format!(
        "{{\"a\":{long},\"traceEvents\":[{{\"ph\":\"X\"}},{{\"ph\":{long},\"b\":[]}},{long},{{\"ph\":\"M\"}}]}}"
    );
    for sizes in [vec![usize::MAX], vec![4097, 1 << 20]] {
        let (kept, end) = in_pieces(text.as_bytes(), sizes);
        assert_eq!(end, "Whole");
        let phases: Vec<&str> = kept.events.iter().map(|event| event[1].as_str()).collect();
        assert!(phases == ["\"X\"", "\"M\""], "{} events", phases.len());
        assert_eq!((kept.strange, kept.members.len()), (2, 0));
    }
}

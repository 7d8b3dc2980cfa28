//! `classify`: kernel names on standard input to classes on standard output, line by line.

use std::io::{self, BufRead, BufWriter, Write};

use analysis::classify::{Class, Classifier, Found, Hints, Kind};

use super::{CommandError, Exit, screen};
use crate::cli::ClassifyArgs;
use crate::rules;

/// Longest line taken, bytes. Real names reach 6 kB; this only bounds memory.
const LINE_MAX: u64 = 1 << 20;

pub fn run(args: &ClassifyArgs) -> Result<Exit, CommandError> {
    let mut input = io::stdin().lock();
    let mut output = BufWriter::new(io::stdout().lock());
    let classifier = rules::from_files(&args.rules.rules)?;
    let mut counts = Counts::default();
    loop {
        let mut line = Vec::new();
        let length = io::Read::take(&mut input, LINE_MAX)
            .read_until(b'\n', &mut line)
            .map_err(CommandError::Stdin)?;
        if length == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let name = String::from_utf8_lossy(&line);
        let name = name.trim_end_matches('\r');
        if name.is_empty() {
            continue;
        }
        match write_line(&mut output, args, name, &classifier, &mut counts) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Exit::Ok),
            Err(error) => return Err(CommandError::Stdout(error)),
        }
    }
    match output.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(CommandError::Stdout(error));
        }
        _ => {}
    }
    let Counts { names, unmatched } = counts;
    let next = if args.explain || unmatched == 0 {
        "warplens analyze FILE"
    } else {
        "warplens classify --explain"
    };
    // Standard output holds one line a name and nothing else.
    let names = crate::output::words::count(names, "name");
    screen::say(&format!("{names}, {unmatched} matched no rule. Next: `{next}`"));
    Ok(Exit::Ok)
}

#[derive(Default)]
struct Counts {
    names: u64,
    unmatched: u64,
}

/// What `--explain` adds.
struct Reason {
    rule: String,
    family: String,
    found: Vec<String>,
}

fn reason(classifier: &Classifier, name: &str) -> Reason {
    let Some(explanation) = classifier.explain(name, &Hints::default()) else {
        return Reason { rule: "no rule".to_owned(), family: String::new(), found: Vec::new() };
    };
    let rule = explanation.rule;
    let found = explanation.found.iter();
    Reason {
        rule: format!("{}:{}", rule.source, rule.line),
        family: rule.family.to_string(),
        found: found
            .map(|Found { field, test, alternative }| format!("{field} {test} {alternative}"))
            .collect(),
    }
}

fn write_line(
    output: &mut impl Write,
    args: &ClassifyArgs,
    name: &str,
    classifier: &Classifier,
    counts: &mut Counts,
) -> io::Result<()> {
    counts.names += 1;
    let matched = classifier.classify(name);
    counts.unmatched += u64::from(matched.is_none());
    let (class, kind) =
        matched.map_or((Class::Other, Kind::Other), |matched| (matched.class, matched.kind));
    if args.json {
        let mut object =
            serde_json::json!({ "name": name, "class": class.as_str(), "kind": kind.as_str() });
        if args.explain {
            let Reason { rule, family, found } = reason(classifier, name);
            object["rule"] = rule.into();
            object["family"] = family.into();
            object["found"] = found.into();
        }
        writeln!(output, "{object}")
    } else if args.explain {
        let Reason { rule, family, found } = reason(classifier, name);
        let found = found.join(", ");
        writeln!(output, "{name}\t{class}\t{kind}\t{rule}\t{found}\t{family}")
    } else {
        writeln!(output, "{name}\t{class}\t{kind}")
    }
}

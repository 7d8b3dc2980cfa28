//! The table as text, and what the filters choose.

use super::*;
use crate::cli::RulesArgs;
use crate::output::fixture;

fn args() -> GapsArgs {
    GapsArgs {
        files: vec!["out".into()],
        rules: RulesArgs::default(),
        limit: 20,
        cause: None,
        min_us: 0,
        json: false,
    }
}

fn table(documents: &[Document], args: &GapsArgs) -> String {
    let mut text = String::new();
    write_table(&mut text, documents, &choose(documents, args), args.cause).unwrap();
    text
}

fn documents() -> Vec<Document> {
    let mut document = Document::of(&fixture::capture());
    // More gaps than are kept.
    document.devices[0].idle_gap_count = 1_234;
    vec![document]
}

#[test]
fn the_table_and_the_verdict() {
    let documents = documents();
    let args = args();
    let table = table(&documents, &args);
    let last = summary::last_line(&verdict(&documents), &next(&documents, &args));
    insta::assert_snapshot!(format!("{table}{last}"));
}

#[test]
fn filters_choose_by_length_cause_and_number() {
    let mut documents = documents();
    for device in &mut documents[0].devices {
        for gap in &mut device.idle_gaps {
            gap.duration_ns *= 1_000;
            gap.parts.iter_mut().for_each(|part| {
                part.start_ns *= 1_000;
                part.end_ns *= 1_000;
            });
        }
    }
    let check = |args: &GapsArgs, expected: &[u64]| {
        let chosen = choose(&documents, args);
        let lengths: Vec<u64> = chosen.iter().map(|(_, gap)| gap.duration_ns / 1_000).collect();
        assert_eq!(lengths, expected, "{args:?}");
    };
    check(&args(), &[400, 150, 90, 60, 50]);
    check(&GapsArgs { limit: 2, ..args() }, &[400, 150]);
    check(&GapsArgs { min_us: 60, ..args() }, &[400, 150, 90, 60]);
    check(&GapsArgs { cause: Some(IdleCause::HostBound), ..args() }, &[150]);
    // 120 of its 150 are host_bound, 30 are not.
    check(&GapsArgs { cause: Some(IdleCause::HostBound), min_us: 121, ..args() }, &[]);
    check(&GapsArgs { cause: Some(IdleCause::Sync), min_us: 30, ..args() }, &[150]);
}

#[test]
fn nothing_as_long_is_said() {
    let documents = documents();
    let args = GapsArgs { min_us: 1_000_000, cause: Some(IdleCause::Sync), ..args() };
    let table = table(&documents, &args);
    assert!(table.ends_with("No gap of cause sync is as long as asked for.\n\n"), "{table}");
    assert_eq!(verdict(&[]), "no GPU time was observed");
}

//! The baselines of docs/overhead.md, and medians held against them.
//!
//! A row is `` | `name` | median | unit | low - high | ``; the machine stands in a line
//! `Machine: ...` above the table. Figures of another machine are not compared: they would say
//! nothing about the code.

use anyhow::{Result, bail};

/// What the document says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Baselines {
    machine: Option<String>,
    rows: Vec<(String, f64, String)>,
}

/// Units where more is better; everywhere else less is.
const MORE_IS_BETTER: [&str; 2] = ["records/s", "M records/s"];

/// Reads the rows; what has no figure yet is left out.
pub(crate) fn parse(text: &str) -> Baselines {
    let machine = text
        .lines()
        .find_map(|line| line.strip_prefix("Machine: "))
        .map(|line| line.trim().to_owned());
    let rows = text.lines().filter_map(parse_row).collect();
    Baselines { machine, rows }
}

fn parse_row(line: &str) -> Option<(String, f64, String)> {
    let mut columns = line.strip_prefix("| `")?.split('|').map(str::trim);
    let name = columns.next()?.trim_end_matches('`').to_owned();
    let value = columns.next()?.parse().ok()?;
    Some((name, value, columns.next()?.to_owned()))
}

/// What is worse than its baseline by more than `tolerance` percent, in words.
pub(crate) fn compare(
    baselines: &Baselines,
    medians: &[(String, f64, String)],
    machine: &str,
    tolerance: f64,
) -> Result<Vec<String>> {
    if baselines.rows.is_empty() {
        bail!("docs/overhead.md has no baseline yet: put the rows above into it");
    }
    if baselines.machine.as_deref() != Some(machine) {
        bail!(
            "the baselines of docs/overhead.md are of `{}` and this is `{machine}`: they cannot be compared",
            baselines.machine.as_deref().unwrap_or("no machine")
        );
    }
    let mut complaints = Vec::new();
    for (name, baseline, unit) in &baselines.rows {
        let Some((_, median, _)) =
            medians.iter().find(|(other, _, of)| other == name && of == unit)
        else {
            complaints.push(format!("{name}: has a baseline in {unit}, and no bench measured it"));
            continue;
        };
        let ratio = if MORE_IS_BETTER.contains(&unit.as_str()) {
            baseline / median
        } else {
            median / baseline
        };
        let worse = (ratio - 1.0) * 100.0;
        if worse > tolerance {
            complaints.push(format!(
                "{name}: {median:.2} {unit}, baseline {baseline:.2}: {worse:.0} % worse"
            ));
        }
    }
    Ok(complaints)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Machine: M, 2 CPUs\n\n| bench | median | unit | spread |\n|---|---|---|---|\n\
                        | `a` | 100 | ns | 90 - 110 |\n| `b` | 40 | M records/s | 39 - 41 |\n\
                        | `c` | not measured yet | ns | |\n";

    fn complaints(a: f64, b: f64) -> usize {
        let medians =
            [("a".to_owned(), a, "ns".to_owned()), ("b".to_owned(), b, "M records/s".to_owned())];
        compare(&parse(TEXT), &medians, "M, 2 CPUs", 10.0).unwrap().len()
    }

    #[test]
    fn worse_depends_on_the_unit() {
        assert_eq!(complaints(100.0, 40.0), 0);
        assert_eq!(complaints(109.0, 60.0), 0);
        assert_eq!(complaints(111.0, 40.0), 1);
        assert_eq!(complaints(50.0, 30.0), 1);
    }

    #[test]
    fn another_machine_or_no_baseline_is_an_error() {
        assert!(compare(&parse(TEXT), &[], "N, 4 CPUs", 10.0).is_err());
        assert!(compare(&parse("nothing"), &[], "M, 2 CPUs", 10.0).is_err());
    }

    #[test]
    fn a_baseline_without_a_measurement_is_a_complaint() {
        assert_eq!(compare(&parse(TEXT), &[], "M, 2 CPUs", 10.0).unwrap().len(), 2);
    }
}

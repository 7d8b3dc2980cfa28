//! Nothing of the machine it was written on, and no registry's address, stands in a file.

use std::iter;

use crate::tidy::{Finding, Text};

/// Folders that exist on one machine only. In two parts, so that this file keeps its own rule.
const FOLDERS: [(&str, &str); 5] =
    [("/ro", "ot/"), ("/ho", "me/"), ("/wo", "rk/"), ("/fa", "rm/"), ("/Us", "ers/")];

/// Hosts of package registries.
const HOSTS: [(&str, &str); 6] = [
    ("crates", ".io"),
    ("static.rust", "-lang.org"),
    ("pypi", ".org"),
    ("python", "hosted.org"),
    ("npmjs", ".org"),
    ("deb.deb", "ian.org"),
];

pub(crate) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Lock files name the registry; cargo writes them.
    for text in texts
        .iter()
        .filter(|text| text.path.extension().is_none_or(|extension| extension != "lock"))
    {
        for (index, line) in text.content.lines().enumerate() {
            findings.extend(
                leaks(line).map(|what| Finding::at(text, index + 1, format!("names `{what}`"))),
            );
        }
    }
    findings
}

fn leaks(line: &str) -> impl Iterator<Item = String> {
    let folders =
        FOLDERS.iter().map(|(first, second)| format!("{first}{second}")).filter(|folder| {
            line.match_indices(folder.as_str()).any(|(at, _)| begins_a_path(&line[..at]))
        });
    let hosts = HOSTS
        .iter()
        .map(|(first, second)| format!("{first}{second}"))
        .filter(|host| line.contains(host));
    iter::chain(folders, hosts).collect::<Vec<_>>().into_iter()
}

/// `/proc/PID/root/` is no machine's folder: only a path that begins there counts.
fn begins_a_path(before: &str) -> bool {
    before
        .chars()
        .next_back()
        .is_none_or(|character| character.is_whitespace() || "\"'`=(:,[<".contains(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_hosts_are_found_where_they_begin() {
        let check =
            |line: &str, expected: usize| assert_eq!(leaks(line).count(), expected, "{line}");
        check(&["cd /wo", "rk/main"].concat(), 1);
        check(&["PATH=/ro", "ot/bin"].concat(), 1);
        check(&["/proc/1/ro", "ot/etc"].concat(), 0);
        check(&["https://crates", ".io/x"].concat(), 1);
        check("target/release", 0);
    }
}

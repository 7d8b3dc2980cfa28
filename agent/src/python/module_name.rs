//! The module a source file is, from its path alone.

/// Dotted below a folder that packages are installed in, the file's own name elsewhere; names in angle
/// brackets (`<frozen importlib._bootstrap>`, `<string>`) are no files and stay.
pub(super) fn of(path: &str) -> String {
    if path.starts_with('<') {
        return path.to_owned();
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let first = installed(&parts).unwrap_or_else(|| {
        // Of `server/__init__.py` the folder says more than the file.
        let special = parts.last().is_some_and(|file| file.starts_with("__"));
        parts.len().saturating_sub(if special { 2 } else { 1 })
    });
    let mut names: Vec<&str> = parts.get(first..).unwrap_or_default().to_vec();
    if let Some(file) = names.last_mut() {
        *file = file.strip_suffix(".py").unwrap_or(file);
    }
    if names.len() > 1 && names.last() == Some(&"__init__") {
        names.pop();
    }
    names.join(".")
}

/// Index of the first part behind the folder that packages are installed in.
fn installed(parts: &[&str]) -> Option<usize> {
    let packages = parts.iter().rposition(|part| ["site-packages", "dist-packages"].contains(part));
    let standard = || {
        parts.windows(2).rposition(|pair| {
            pair[0].starts_with("lib")
                && pair[1]
                    .strip_prefix("python3.")
                    .is_some_and(|minor| minor.starts_with(|first: char| first.is_ascii_digit()))
        })
    };
    packages
        .map(|at| at + 1)
        .or_else(|| standard().map(|at| at + 2))
        .filter(|&first| first < parts.len())
}

#[cfg(test)]
mod tests {
    use super::of;

    #[test]
    fn modules_are_named_by_their_path() {
        let check = |path: &str, module: &str| assert_eq!(of(path), module, "{path}");
        check(
            "/opt/venv/lib/python3.12/site-packages/vllm/v1/engine/core.py",
            "vllm.v1.engine.core",
        );
        check("/opt/venv/lib/python3.12/site-packages/torch/__init__.py", "torch");
        check("/usr/lib/python3/dist-packages/yaml/loader.py", "yaml.loader");
        check("/usr/lib/python3.11/asyncio/events.py", "asyncio.events");
        check("/usr/lib64/python3.13t/json/__init__.py", "json");
        check("/usr/lib/python3.11/threading.py", "threading");
        check("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>");
        check("<string>", "<string>");
        check("/srv/app/work.py", "work");
        check("work.py", "work");
        check("/srv/app/server/__init__.py", "server");
        check("/srv/app/server/__main__.py", "server.__main__");
        check("/srv/app/tool", "tool");
        check("/usr/lib/python3.11", "python3.11");
        check("", "");
        check("/", "");
    }
}

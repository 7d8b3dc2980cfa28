//! Names that a user chose, made fit to be shown: a model can be a URL with a password in it.

/// Longest name kept, characters. Repository names have at most 96; a path in a pod is longer.
const NAME_MAX: usize = 200;

/// What stands for what was taken out.
const HIDDEN: &str = "[hidden]";

/// `name` without credentials, queries and control characters.
pub fn display_name(name: &str) -> String {
    let shown = match name.split_once("://") {
        Some((scheme, rest)) => {
            let rest = rest.split(['?', '#']).next().unwrap_or(rest);
            // A user alone can be a token; without a scheme it can be a revision.
            match rest.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://{HIDDEN}@{host}"),
                None => format!("{scheme}://{rest}"),
            }
        }
        None => without_user(name),
    };
    shown.chars().filter(|character| !character.is_control()).take(NAME_MAX).collect()
}

/// Without `user:password@`. The last `@` counts: a password may hold more of them, and slashes.
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((user, host)) if user.contains(':') => format!("{HIDDEN}@{host}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(display_name(name), expected);
    }

    #[test]
    fn plain_names_stay() {
        for name in
            ["meta-llama/Llama-3.3-70B-Instruct", "/models/tiny", "s3://bucket/model", "m@v2"]
        {
            check(name, name);
        }
    }

    #[test]
    fn credentials_go() {
        check("https://me:s3cret@host/m", "https://[hidden]@host/m");
        check("https://me:s3/cr@t@host/m?token=s3cret#s3cret", "https://[hidden]@host/m");
        check("s3://bucket/m?X-Amz-Signature=s3cret", "s3://bucket/m");
        check("me:s3cret@host/m", "[hidden]@host/m");
        check("a\u{1b}[31m\nb", "a[31mb");
        assert_eq!(display_name(&"x".repeat(900)).len(), NAME_MAX);
    }

    #[test]
    fn a_token_in_place_of_a_user_goes_with_its_scheme() {
        check("https://s3cret@host/m", "https://[hidden]@host/m");
    }
}

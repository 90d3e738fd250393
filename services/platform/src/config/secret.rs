//! Settings as they may be shown: passwords in addresses are left out, and so is whatever stands where the name of a secret's file belongs.

use std::path::Path;

/// Settings that name a file with a secret. People write the secret itself there.
const FILES: [&str; 12] = [
    "broker.credentials",
    "database.password",
    "gateway.console_secret",
    "gateway.jwks",
    "gateway.link_secret",
    "gateway.operator_password",
    "gateway.tokens",
    "mail.password",
    "rounds.draw_secrets",
    "stripe.secret_key",
    "stripe.webhook_secrets",
    "traces.token",
];

/// Those of them whose secret may be any text, and so look like a path. Keys and tokens have beginnings of their own.
const OF_ANY_TEXT: [&str; 7] = [
    "database.password",
    "gateway.console_secret",
    "gateway.link_secret",
    "gateway.operator_password",
    "mail.password",
    "rounds.draw_secrets",
    "traces.token",
];

/// What stands in the place of a secret.
pub(super) const HIDDEN: &str = "***";

/// A value as it may be shown.
pub(super) fn shown(setting: &str, text: &str) -> String {
    let is_address = text.contains("://");
    if FILES.contains(&setting) && !is_address && !is_path(setting, text) {
        return HIDDEN.to_owned();
    }
    if !is_address {
        return text.to_owned();
    }
    text.split(',').map(|address| without_password(setting, address)).collect::<Vec<_>>().join(",")
}

/// Whether a text is the name of a file rather than what should be in one.
fn is_path(setting: &str, text: &str) -> bool {
    let path = Path::new(text);
    // The root is above whatever begins with a slash.
    let is_directory = |parent: &Path| parent.parent().is_some() && parent.is_dir();
    let is_in_a_directory = path.parent().is_some_and(is_directory);
    // A directory that is not mounted must be named.
    let is_absolute = path.is_absolute() && !OF_ANY_TEXT.contains(&setting);
    text.is_empty() || is_absolute || is_in_a_directory || path.exists()
}

/// An address without its password, wherever it stands. What NATS is given before an @ may be a token, which is a secret without a name.
fn without_password(setting: &str, address: &str) -> String {
    let (before, query) = address.split_once('?').map_or((address, None), |(before, query)| (before, Some(query)));
    let mut shown = before.to_owned();
    if let Some((scheme, rest)) = before.split_once("://")
        && let Some((user, place)) = rest.rsplit_once('@')
    {
        let user = match user.split_once(':') {
            Some((name, _)) => format!("{name}:{HIDDEN}"),
            None if setting == "broker.url" => HIDDEN.to_owned(),
            None => user.to_owned(),
        };
        shown = format!("{scheme}://{user}@{place}");
    }
    let Some(query) = query else { return shown };
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if name.to_lowercase().contains("password") => format!("{name}={HIDDEN}"),
        Some(_) | None => pair.to_owned(),
    });
    format!("{shown}?{}", pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn an_address_is_shown_without_its_password() {
        for (setting, text, wanted) in [
            ("database.url", "postgres://orders:a:b@c@db:5432/holdfast", "postgres://orders:***@db:5432/holdfast"),
            (
                "database.url",
                "postgres://orders@db/x?sslmode=require&Password=s",
                "postgres://orders@db/x?sslmode=require&Password=***",
            ),
            ("broker.url", "nats://token@one:4222,nats://u:p@two:4222", "nats://***@one:4222,nats://u:***@two:4222"),
            ("stripe.url", "https://api.stripe.com", "https://api.stripe.com"),
            ("gateway.jwks", "https://u:p@id.example/keys", "https://u:***@id.example/keys"),
            ("log.filter", "info", "info"),
        ] {
            assert_eq!(shown(setting, text), wanted);
        }
    }

    #[test]
    fn what_stands_where_a_file_belongs_is_shown_only_if_it_is_one() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_string_lossy().into_owned();
        for (text, wanted) in [("", ""), ("sk_live_51H", "***"), ("a/b+c/d", "***"), (path.as_str(), path.as_str())] {
            for setting in ["stripe.secret_key", "mail.password"] {
                assert_eq!(shown(setting, text), wanted);
            }
        }
        // A password may begin like this, a key of Stripe may not.
        for password in ["/hush", "/nowhere/hush"] {
            assert_eq!(shown("mail.password", password), "***");
        }
        assert_eq!(shown("stripe.secret_key", "/nowhere/stripe.key"), "/nowhere/stripe.key");
    }
}

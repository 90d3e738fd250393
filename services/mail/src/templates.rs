//! The words of mails: templates that are built in, or a shop's own in their place. All are tried when the process starts, so that a broken
//! one is found before an order is paid.

use std::{fs, path::Path};

use jiff::{Timestamp, tz::TimeZone};
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, value::Serde};

use crate::about::{Kind, Story, sample};

/// The templates that are built in, by their names: for each kind a subject, a text and a page.
const BUILT_IN: [(&str, &str); 6] = [
    ("paid.subject", include_str!("templates/paid.subject")),
    ("paid.txt", include_str!("templates/paid.txt")),
    ("paid.html", include_str!("templates/paid.html")),
    ("refunded.subject", include_str!("templates/refunded.subject")),
    ("refunded.txt", include_str!("templates/refunded.txt")),
    ("refunded.html", include_str!("templates/refunded.html")),
];

/// How a date is written unless its template says otherwise: `27 November 2026, 14:05 CET`.
const DATE: &str = "%-d %B %Y, %H:%M %Z";

/// The words of one mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// All templates, and the shop's zone.
#[derive(Debug)]
pub(crate) struct Templates(Environment<'static>);

impl Templates {
    /// Reads those of a directory, and those that are built in for what it does not have. `""`: there is no directory.
    pub(crate) fn read(dir: &str, zone: &str) -> Result<Self, String> {
        let zone = TimeZone::get(zone).map_err(|error| format!("the zone {zone:?} is not known: {error}"))?;
        let mut environment = Environment::new();
        // A name that is misspelt is an error, and not an empty place in a mail.
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.add_filter("date", move |at: i64, form: Option<String>| date(&zone, at, form.as_deref()));
        for (name, source) in BUILT_IN {
            environment.add_template(name, source).map_err(|error| error.to_string())?;
        }
        if !dir.is_empty() {
            for (name, source) in files(Path::new(dir))? {
                // They are read once, and stay for as long as the process lives.
                environment
                    .add_template(name.leak(), source.leak())
                    .map_err(|error| format!("in the directory {dir}: {error}"))?;
            }
        }
        let templates = Self(environment);
        for kind in Kind::ALL {
            templates.render(kind, &sample(kind)).map_err(|error| match dir {
                "" => error,
                dir => format!("in the directory {dir}: {error}"),
            })?;
        }
        Ok(templates)
    }

    /// The words of a mail. The error names the template and its line.
    pub(crate) fn render(&self, kind: Kind, story: &Story) -> Result<Words, String> {
        let render = |ending: &str| {
            let template = self.0.get_template(&format!("{}.{ending}", kind.as_str()));
            template.and_then(|template| template.render(Serde(story))).map_err(|error| error.to_string())
        };
        // A subject is one line.
        let subject = render("subject")?.split_whitespace().collect::<Vec<_>>().join(" ");
        Ok(Words { subject, text: render("txt")?, html: render("html")? })
    }
}

/// The templates of a directory. A name that stands for nothing is an error: else its words would be sent to nobody, and nobody would know.
fn files(dir: &Path) -> Result<Vec<(String, String)>, String> {
    let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| failed(dir, error))? {
        let path = entry.map_err(|error| failed(dir, error))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') || path.is_dir() {
            continue;
        }
        // What others include.
        let is_part = name.starts_with('_');
        if !is_part && !BUILT_IN.iter().any(|(known, _)| *known == name) {
            let known = BUILT_IN.map(|(known, _)| known).join(", ");
            return Err(format!("{}: no mail has such a template; there are {known}", path.display()));
        }
        let source = fs::read_to_string(&path).map_err(|error| failed(&path, error))?;
        files.push((name, source));
    }
    Ok(files)
}

/// A moment by the shop's clock.
fn date(zone: &TimeZone, at: i64, form: Option<&str>) -> Result<String, Error> {
    let refuse = |error: jiff::Error| Error::new(ErrorKind::InvalidOperation, error.to_string());
    let zoned = Timestamp::from_microsecond(at).map_err(refuse)?.to_zoned(zone.clone());
    jiff::fmt::strtime::format(form.unwrap_or(DATE), &zoned).map_err(refuse)
}

#[cfg(test)]
mod tests;

//! Style and scripts of pages for people. Their names say what is in them, so a browser keeps them for ever.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use crate::{commands::insert, hex, problem::Problem};

/// A file that pages refer to.
#[derive(Debug)]
pub(crate) struct Asset {
    stem: &'static str,
    extension: &'static str,
    kind: &'static str,
    text: &'static str,
    hash: LazyLock<String>,
}

macro_rules! asset {
    ($name:ident, $path:literal, $stem:literal, $extension:literal, $kind:literal) => {
        pub(crate) static $name: Asset = Asset {
            stem: $stem,
            extension: $extension,
            kind: $kind,
            text: include_str!($path),
            hash: LazyLock::new(|| hash(include_str!($path))),
        };
    };
}

asset!(STYLE, "../../assets/console.css", "console", "css", "text/css; charset=utf-8");
asset!(SCRIPT, "../../assets/console.js", "console", "js", "text/javascript; charset=utf-8");
asset!(DRAW, "../../assets/draw.js", "draw", "js", "text/javascript; charset=utf-8");
asset!(HTMX, "../../assets/vendor/htmx-4.0.1.min.js", "htmx", "js", "text/javascript; charset=utf-8");

const KEPT: &str = "public, max-age=31536000, immutable";

fn hash(text: &str) -> String {
    hex::digits(&Sha256::digest(text.as_bytes())).chars().take(12).collect()
}

impl Asset {
    /// What pages call it.
    pub(crate) fn name(&self) -> String {
        format!("{}-{}.{}", self.stem, *self.hash, self.extension)
    }
}

/// `GET /console/assets/{name}`, and `/rounds/assets/{name}`
pub(crate) async fn asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let found = [&STYLE, &SCRIPT, &DRAW, &HTMX].into_iter().find(|asset| asset.name() == name);
    let asset = found.ok_or_else(|| Problem::own("NOT_FOUND", "there is no such file: load the page again"))?;
    let mut response = (StatusCode::OK, asset.text).into_response();
    insert(response.headers_mut(), header::CONTENT_TYPE, asset.kind);
    insert(response.headers_mut(), header::CACHE_CONTROL, KEPT);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use ring::digest;

    use super::{DRAW, HTMX, SCRIPT, STYLE};

    #[test]
    fn a_name_says_what_is_in_the_file() {
        let name = STYLE.name();
        assert!(
            name.starts_with("console-") && name.ends_with(".css") && name.len() == "console-.css".len() + 12,
            "{name}"
        );
        assert_ne!(SCRIPT.name(), HTMX.name());
    }

    #[test]
    fn htmx_is_as_its_makers_have_published_it() {
        let hash = STANDARD.encode(digest::digest(&digest::SHA384, HTMX.text.as_bytes()));
        assert_eq!(hash, "Qp9rdC8H7EqOoX+nR0P3RPG2Noji+qdwJlGpfzwQJsfOpp3sGwIdSP9xO3+UlEhn");
    }

    #[test]
    fn our_own_script_asks_nobody_else_and_makes_no_html() {
        for word in ["//", "http:", "https:", "innerHTML", "insertAdjacent", "eval(", "Function(", "import"] {
            for script in [&SCRIPT, &DRAW] {
                let code: String = script.text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
                assert!(!code.contains(word), "{}: {word}", script.stem);
            }
        }
        for word in ["http:", "https:", "@import", "url(http"] {
            assert!(!STYLE.text.contains(word), "{word}");
        }
    }
}

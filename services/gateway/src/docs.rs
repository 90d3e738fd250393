//! `/docs`: a page that shows the OpenAPI document to people, and that needs nothing from anywhere else.

use axum::{
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::commands::insert;

const PAGE: &str = include_str!("docs.html");

const NO_SNIFF: HeaderName = HeaderName::from_static("x-content-type-options");
const REFERRER: HeaderName = HeaderName::from_static("referrer-policy");

/// `GET /docs`
pub(crate) async fn docs() -> Response {
    let mut response = (StatusCode::OK, PAGE).into_response();
    let headers = response.headers_mut();
    insert(headers, header::CONTENT_TYPE, "text/html; charset=utf-8");
    insert(headers, header::CACHE_CONTROL, "no-cache");
    insert(headers, header::CONTENT_SECURITY_POLICY, &policy());
    insert(headers, NO_SNIFF, "nosniff");
    insert(headers, REFERRER, "no-referrer");
    response
}

/// The page may do what stands in it, read the document from where it came from itself, and nothing else; and nobody may frame it.
fn policy() -> String {
    let (script, style) = (hash(within("script")), hash(within("style")));
    format!(
        "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
}

/// What stands in the one element of this name.
fn within(name: &str) -> &'static str {
    let text = PAGE.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
    text.and_then(|text| text.split_once(&format!("</{name}>"))).map_or("", |(text, _)| text)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::{PAGE, hash, policy, within};

    #[test]
    fn the_page_names_no_host_and_sets_no_html() {
        for word in [
            "//",
            "http:",
            "https:",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "insertAdjacent",
            "eval",
            "document.write",
        ] {
            let without_comment = PAGE.replace("// Whatever", "");
            assert!(!without_comment.contains(word), "{word}");
        }
        let links: Vec<&str> = PAGE.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(links, ["/openapi.json"]);
        assert_eq!(PAGE.matches("fetch(").count(), 1);
        assert!(PAGE.contains("fetch(\"/openapi.json\")"));
    }

    #[test]
    fn its_policy_lets_it_do_what_stands_in_it_and_nothing_else() {
        assert_eq!((PAGE.matches("<script").count(), PAGE.matches("<style").count()), (1, 1));
        assert!(!PAGE.contains(" style="), "it could not be done");
        for handler in ["onclick", "onload", "onerror"] {
            assert!(!PAGE.contains(handler), "{handler}");
        }
        let policy = policy();
        assert!(
            policy.starts_with("default-src 'none'; script-src 'sha256-") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(within("script").len() > 1_000 && policy.contains(&hash(within("script"))));
        // Of the empty text, as others say it.
        assert_eq!(hash(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}

//! Contexts: the gateways that a person talks to and his token for each, in a file that nobody else can read.

use std::{
    collections::BTreeMap,
    env, fmt,
    fs::{self, DirBuilder, File},
    io::{ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use hyper::Uri;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::failure::{AWAY, Failure, USAGE};

/// The bits of a file's mode that let others in.
const OTHERS: u32 = 0o077;

/// The most letters of a token: a JSON Web Token has some thousands.
const TOKEN_CHARS_MAX: usize = 16_384;

/// A token. It is shown nowhere.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// Reads one from a file, or from whoever pipes it in.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let token = text.trim();
        if token.is_empty() {
            return Err("the token is empty".to_owned());
        }
        if !token.bytes().all(|letter| letter.is_ascii_graphic()) || token.len() > TOKEN_CHARS_MAX {
            return Err("that is no token: it must be one word of plain letters, digits and signs".to_owned());
        }
        Ok(Self(token.to_owned()))
    }

    /// For the header, and for nothing else.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

/// A gateway, and who we are there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    pub(crate) url: String,
    /// Whoever changes something there is asked whether he means it.
    #[serde(default)]
    pub(crate) production: bool,
    token: Token,
}

impl Context {
    pub(crate) fn new(url: &str, production: bool, token: Token) -> Result<Self, String> {
        Ok(Self { url: address(url)?, production, token })
    }

    pub(crate) fn token(&self) -> &Token {
        &self.token
    }

    /// Whether anybody between here and there can read the token.
    pub(crate) fn is_readable_on_the_way(&self) -> bool {
        let Ok(uri) = self.url.parse::<Uri>() else { return false };
        let host = uri.host().unwrap_or_default();
        let is_here = host == "localhost" || host == "[::1]" || host.starts_with("127.");
        uri.scheme_str() == Some("http") && !is_here
    }
}

/// An address of a gateway, with the path before its own if there is one: `https://shop.example/holdfast`.
fn address(url: &str) -> Result<String, String> {
    let refused = |why: &str| format!("{url:?} is no address of a gateway: {why}, as in https://shop.example");
    let uri: Uri = url.parse().map_err(|error| refused(&format!("{error}")))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(refused("it must begin with http:// or https://"));
    }
    // What stands there would be shown, and is not sent.
    if uri.authority().is_none_or(|authority| authority.as_str().contains('@')) {
        return Err("an address has no password in it: the token is read from a file or from standard input".to_owned());
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(refused("nothing may stand behind its path"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Whether a context may be called so.
pub(crate) fn name(text: &str) -> Result<String, String> {
    let is_one = (1..=64).contains(&text.len())
        && text.bytes().all(|letter| letter.is_ascii_alphanumeric() || b"-_.".contains(&letter));
    if is_one {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 64 letters, digits, dashes, dots and underscores".to_owned())
    }
}

/// All contexts of a person.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// The one that is used unless another is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// Where they are.
    pub(crate) fn path() -> Result<PathBuf> {
        let named = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = named("XDG_CONFIG_HOME").or_else(|| named("HOME").map(|home| home.join(".config")));
        let config = config.context("neither XDG_CONFIG_HOME nor HOME says where a person's settings are")?;
        Ok(config.join("holdfast/contexts.toml"))
    }

    /// Reads them: none, if there is no file.
    ///
    /// # Errors
    /// Others may read the file, or it says what cannot be.
    pub(crate) fn read() -> Result<Self> {
        Self::read_at(&Self::path()?)
    }

    fn read_at(path: &Path) -> Result<Self> {
        let shown = path.display();
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error).with_context(|| format!("reading the contexts in {shown}")),
        };
        let metadata = file.metadata()?;
        let mode = metadata.mode() & 0o777;
        if mode & OTHERS != 0 {
            let words = format!("{shown} has tokens, and others may read it (mode {mode:03o}): chmod 600 {shown}");
            return Err(Failure::error(AWAY, words));
        }
        if metadata.uid() != rustix::process::geteuid().as_raw() {
            return Err(Failure::error(AWAY, format!("{shown} has tokens, and belongs to somebody else")));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).with_context(|| format!("reading the contexts in {shown}"))?;
        Self::parse(&text).map_err(|why| Failure::error(AWAY, format!("{shown} cannot be read: {why}")))
    }

    /// What is wrong is said without the line that it stands in, which may have a token.
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            format!("line {}: it is not what `holdfast context` writes", before.matches('\n').count() + 1)
        })
    }

    /// Writes them, all or nothing, for nobody else to read.
    pub(crate) fn write(&self) -> Result<()> {
        let path = Self::path()?;
        let shown = path.display().to_string();
        let write = || -> Result<()> {
            let Some(directory) = path.parent() else { bail!("it has no directory") };
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
            // Made so that only its owner may read it.
            let mut file = NamedTempFile::new_in(directory)?;
            file.write_all(toml::to_string(self)?.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            fs::File::open(directory)?.sync_all()?;
            Ok(())
        };
        write().with_context(|| format!("writing the contexts to {shown}"))
    }

    /// The context of this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn named(&self, name: &str) -> Result<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known = self.contexts.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let there = if known.is_empty() { "there is none".to_owned() } else { format!("there are {known}") };
            Failure::error(USAGE, format!("there is no context {name:?}: {there}; `holdfast context add` makes one"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{Context, Contexts, Token, address, name};

    fn context(url: &str) -> Context {
        Context::new(url, true, Token::read("secret").unwrap()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let contexts = Contexts {
            current: Some("shop".to_owned()),
            contexts: [("shop".to_owned(), context("https://shop.example/holdfast/"))].into(),
        };
        let text = toml::to_string(&contexts).unwrap();
        assert!(text.contains("\"https://shop.example/holdfast\""), "{text}");
        assert_eq!(Contexts::parse(&text), Ok(contexts));
        assert_eq!(Contexts::parse(""), Ok(Contexts::default()));
    }

    #[test]
    fn a_token_is_shown_nowhere() {
        assert!(!format!("{:?}", context("http://127.0.0.1")).contains("secret"));
        let wrong = Contexts::parse("[contexts.a]\nurl = \"x\"\ntoken = \"secret\" secret").unwrap_err();
        assert!(wrong.contains("line 3") && !wrong.contains("secret"), "{wrong}");
        for no_token in ["", " \n", "two words", "Größe"] {
            assert!(Token::read(no_token).is_err(), "{no_token:?}");
        }
        assert_eq!(Token::read(" secret\n"), Token::read("secret"));
    }

    #[test]
    fn an_address_has_a_host_and_nothing_that_is_secret() {
        assert_eq!(address("http://127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        for wrong in ["shop.example", "ftp://shop.example", "/v1", "https://", "https://a/?b=c", "https://a/#c", ""] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
        let wrong = address("https://ann:secret@shop.example").unwrap_err();
        assert!(!wrong.contains("secret"), "{wrong}");
        for (url, is_readable) in [
            ("http://shop.example", true),
            ("https://shop.example", false),
            ("http://localhost:1", false),
            ("http://[::1]", false),
        ] {
            assert_eq!(context(url).is_readable_on_the_way(), is_readable, "{url}");
        }
        assert!(name("shop-1.test_a").is_ok() && name("").is_err() && name("a b").is_err() && name("a/b").is_err());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("contexts.toml");
        assert_eq!(Contexts::read_at(&path).unwrap(), Contexts::default());
        fs::write(&path, "").unwrap();
        for (mode, is_read) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o601, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let read = Contexts::read_at(&path);
            assert_eq!(read.is_ok(), is_read, "{mode:o}");
            let said = read.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(is_read || said.contains(&format!("(mode {mode:03o}): chmod 600 ")), "{said}");
        }
    }
}

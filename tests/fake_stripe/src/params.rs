//! Parameters of one call, taken one after another by name and type; what is left over is unknown.

use std::collections::BTreeMap;

use crate::{
    form::{self, Branch, Node},
    problem::Problem,
};

/// Metadata of an object: at most 50 keys of 40 characters with values of 500.
pub(crate) type Metadata = BTreeMap<String, String>;

const METADATA_KEYS_MAX: usize = 50;
const METADATA_KEY_MAX: usize = 40;
const METADATA_VALUE_MAX: usize = 500;

/// What a text without a limit of its own may have.
pub(crate) const TEXT_MAX: usize = 5_000;

#[derive(Debug)]
pub(crate) struct Params {
    /// Where these are within the call: `line_items[0]`.
    at: String,
    left: Branch,
}

impl Params {
    pub(crate) fn new(form: Branch) -> Self {
        Self { at: String::new(), left: form }
    }

    pub(crate) fn name(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}[{key}]", self.at) }
    }

    pub(crate) fn text(&mut self, key: &str, most: usize) -> Result<Option<String>, Problem> {
        let name = self.name(key);
        match self.left.remove(key) {
            None => Ok(None),
            Some(Node::Branch(_)) => Err(Problem::invalid(format!("Invalid string: {name}")).param(name)),
            Some(Node::Text(text)) => checked(text, &name, most).map(Some),
        }
    }

    pub(crate) fn integer(&mut self, key: &str) -> Result<Option<i64>, Problem> {
        let name = self.name(key);
        let parsed = self.text(key, TEXT_MAX)?.map(|text| {
            let wrong = || Problem::invalid(format!("Invalid integer: {text}")).code("parameter_invalid_integer");
            text.parse().map_err(|_not_a_number| wrong().param(name))
        });
        parsed.transpose()
    }

    pub(crate) fn boolean(&mut self, key: &str) -> Result<Option<bool>, Problem> {
        let name = self.name(key);
        match self.text(key, TEXT_MAX)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Problem::invalid(format!("Invalid boolean: {other}")).param(name)),
        }
    }

    pub(crate) fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let name = self.name(key);
        let Some(text) = self.text(key, TEXT_MAX)? else { return Ok(None) };
        if let Some((_, chosen)) = choices.iter().find(|(choice, _)| *choice == text) {
            return Ok(Some(*chosen));
        }
        let all: Vec<&str> = choices.iter().map(|(choice, _)| *choice).collect();
        Err(Problem::invalid(format!("Invalid {name}: must be one of {}", all.join(", "))).param(name))
    }

    pub(crate) fn url(&mut self, key: &str) -> Result<Option<String>, Problem> {
        let name = self.name(key);
        let text = self.text(key, TEXT_MAX)?;
        match text {
            Some(url) if !url.starts_with("https://") && !url.starts_with("http://") => {
                Err(Problem::invalid("Not a valid URL").code("url_invalid").param(name))
            }
            Some(_) | None => Ok(text),
        }
    }

    /// An object within this one.
    pub(crate) fn object(&mut self, key: &str) -> Result<Option<Params>, Problem> {
        let at = self.name(key);
        match self.left.remove(key) {
            None => Ok(None),
            Some(Node::Branch(left)) => Ok(Some(Params { at, left })),
            Some(Node::Text(_)) => Err(Problem::invalid("Invalid object").param(at)),
        }
    }

    /// A list of objects.
    pub(crate) fn objects(&mut self, key: &str) -> Result<Vec<Params>, Problem> {
        let name = self.name(key);
        let of = |(number, node)| match node {
            Node::Branch(left) => Ok(Params { at: format!("{name}[{number}]"), left }),
            Node::Text(_) => Err(Problem::invalid("Invalid object").param(format!("{name}[{number}]"))),
        };
        self.list(key)?.into_iter().enumerate().map(of).collect()
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &str) -> Result<Vec<String>, Problem> {
        let name = self.name(key);
        let of = |(number, node)| match node {
            Node::Text(text) => checked(text, &format!("{name}[{number}]"), TEXT_MAX),
            Node::Branch(_) => Err(Problem::invalid("Invalid string").param(format!("{name}[{number}]"))),
        };
        self.list(key)?.into_iter().enumerate().map(of).collect()
    }

    fn list(&mut self, key: &str) -> Result<Vec<Node>, Problem> {
        let name = self.name(key);
        let invalid = || Problem::invalid("Invalid array").param(name.clone());
        match self.left.remove(key) {
            None => Ok(Vec::new()),
            Some(Node::Text(_)) => Err(invalid()),
            Some(Node::Branch(branch)) => form::elements(branch).ok_or_else(invalid),
        }
    }

    pub(crate) fn metadata(&mut self, key: &str) -> Result<Metadata, Problem> {
        let name = self.name(key);
        let branch = match self.left.remove(key) {
            None => return Ok(Metadata::new()),
            // An empty text unsets it.
            Some(Node::Text(text)) if text.is_empty() => return Ok(Metadata::new()),
            Some(Node::Text(_)) => return Err(Problem::invalid("Invalid object").param(name)),
            Some(Node::Branch(branch)) => branch,
        };
        if branch.len() > METADATA_KEYS_MAX {
            let text = format!("You can only have up to {METADATA_KEYS_MAX} metadata keys.");
            return Err(Problem::invalid(text).param(name));
        }
        let mut metadata = Metadata::new();
        for (key, node) in branch {
            let at = format!("{name}[{key}]");
            let Node::Text(value) = node else {
                return Err(Problem::invalid("Invalid string: metadata values are texts").param(at));
            };
            if key.chars().count() > METADATA_KEY_MAX {
                let text = format!("Metadata keys can have up to {METADATA_KEY_MAX} characters.");
                return Err(Problem::invalid(text).param(at));
            }
            if value.chars().count() > METADATA_VALUE_MAX {
                let text = format!("Metadata values can have up to {METADATA_VALUE_MAX} characters.");
                return Err(Problem::invalid(text).param(at));
            }
            if !value.is_empty() {
                metadata.insert(key, value);
            }
        }
        Ok(metadata)
    }

    /// The error for a parameter that must be there.
    pub(crate) fn lacks(&self, key: &str) -> Problem {
        let name = self.name(key);
        Problem::invalid(format!("Missing required param: {name}.")).code("parameter_missing").param(name)
    }

    /// What nobody took is unknown.
    pub(crate) fn end(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(key) => {
                let name = self.name(key);
                let text = format!("Received unknown parameter: {name}");
                Err(Problem::invalid(text).code("parameter_unknown").param(name))
            }
        }
    }
}

fn checked(text: String, name: &str, most: usize) -> Result<String, Problem> {
    if text.is_empty() {
        let empty = format!(
            "You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter; \
             however '{name}' cannot be unset."
        );
        return Err(Problem::invalid(empty).code("parameter_invalid_empty").param(name));
    }
    if text.chars().count() > most {
        return Err(Problem::invalid(format!("Invalid string: {name} must be at most {most} characters")).param(name));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::Params;
    use crate::form;

    fn params(form: &str) -> Params {
        Params::new(form::parse(form.as_bytes()).unwrap())
    }

    #[test]
    fn what_is_not_taken_is_unknown() {
        let mut call = params("a=1&b[c]=2");
        assert_eq!(call.integer("a").unwrap(), Some(1));
        let mut inner = call.object("b").unwrap().unwrap();
        assert_eq!(inner.text("d", 10).unwrap(), None);
        let unknown = inner.end().unwrap_err();
        assert_eq!(unknown.code, Some("parameter_unknown"));
        assert!(unknown.message.ends_with("b[c]"), "{unknown:?}");
        call.end().unwrap();
    }

    #[test]
    fn types_are_checked() {
        let mut call = params("n=1.5&b=yes&t[x]=1&o=1&l=1&e=&u=ftp://x&c=z");
        assert_eq!(call.integer("n").unwrap_err().code, Some("parameter_invalid_integer"));
        assert!(call.boolean("b").is_err());
        assert!(call.text("t", 10).is_err());
        assert!(call.object("o").is_err());
        assert!(call.objects("l").is_err());
        assert_eq!(call.text("e", 10).unwrap_err().code, Some("parameter_invalid_empty"));
        assert_eq!(call.url("u").unwrap_err().code, Some("url_invalid"));
        assert!(call.choice("c", &[("a", 1)]).is_err());
        assert!(params("long=abcd").text("long", 3).is_err());
    }

    #[test]
    fn metadata_has_limits() {
        let many = |count: usize| (0..count).map(|key| format!("m[k{key}]=v&")).collect::<String>();
        assert_eq!(params(&many(50)).metadata("m").unwrap().len(), 50);
        assert!(params(&many(51)).metadata("m").is_err());
        let (key, value) = ("k".repeat(40), "v".repeat(500));
        assert!(params(&format!("m[{key}]={value}")).metadata("m").is_ok());
        assert!(params(&format!("m[{key}k]=v")).metadata("m").is_err());
        assert!(params(&format!("m[k]={value}v")).metadata("m").is_err());
        assert!(params("m[a][b]=c").metadata("m").is_err());
        assert!(params("m=").metadata("m").unwrap().is_empty());
    }
}

//! Forms as Stripe reads them: `a[0][b]=c` and `a[]=c` become trees.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::problem::Problem;

/// Fields of a form, by name; the elements of a list by their number.
pub(crate) type Branch = BTreeMap<String, Node>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    Text(String),
    Branch(Branch),
}

const FIELDS_MAX: usize = 5_000;
const DEPTH_MAX: usize = 8;

pub(crate) fn parse(encoded: &[u8]) -> Result<Branch, Problem> {
    let mut root = Branch::new();
    for (number, (name, value)) in form_urlencoded::parse(encoded).enumerate() {
        if number >= FIELDS_MAX {
            return Err(Problem::invalid(format!("A request has at most {FIELDS_MAX} parameters.")));
        }
        let path = path(&name).ok_or_else(|| Problem::invalid(format!("Invalid parameter name: {name}")))?;
        put(&mut root, &path, &value).ok_or_else(|| {
            Problem::invalid(format!("Invalid parameter: {name} is given both as a value and as an object."))
        })?;
    }
    Ok(root)
}

/// `a[0][b]` is `["a", "0", "b"]`.
fn path(name: &str) -> Option<Vec<&str>> {
    let (first, rest) = name.split_at(name.find('[').unwrap_or(name.len()));
    let mut path = vec![first];
    if !rest.is_empty() {
        path.extend(rest.strip_prefix('[')?.strip_suffix(']')?.split("]["));
    }
    let is_well_formed = !first.is_empty() && path.len() <= DEPTH_MAX;
    (is_well_formed && path.iter().all(|part| !part.contains(['[', ']']))).then_some(path)
}

/// Nothing if a value is where an object should be, or the reverse.
fn put(branch: &mut Branch, path: &[&str], value: &str) -> Option<()> {
    let (first, rest) = path.split_first()?;
    let name = if first.is_empty() { branch.len().to_string() } else { (*first).to_owned() };
    if rest.is_empty() {
        return match branch.insert(name, Node::Text(value.to_owned())) {
            Some(Node::Branch(_)) => None,
            Some(Node::Text(_)) | None => Some(()),
        };
    }
    match branch.entry(name).or_insert_with(|| Node::Branch(Branch::new())) {
        Node::Branch(inner) => put(inner, rest, value),
        Node::Text(_) => None,
    }
}

/// The elements of a list in their order; nothing if it is none.
pub(crate) fn elements(branch: Branch) -> Option<Vec<Node>> {
    let numbered: Option<BTreeMap<usize, Node>> =
        branch.into_iter().map(|(name, node)| Some((name.parse().ok()?, node))).collect();
    Some(numbered?.into_values().collect())
}

pub(crate) fn to_json(branch: &Branch) -> Value {
    Value::Object(branch.iter().map(|(name, node)| (name.clone(), node_to_json(node))).collect())
}

fn node_to_json(node: &Node) -> Value {
    match node {
        Node::Text(text) => Value::String(text.clone()),
        Node::Branch(branch) => match elements(branch.clone()) {
            Some(list) => Value::Array(list.iter().map(node_to_json).collect()),
            None => to_json(branch),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{parse, to_json};

    #[test]
    fn brackets_make_objects_and_lists() {
        let form = "a[0][b]=c&a[1][b]=d+e&list[]=x&list[]=y&m[k]=%C3%A4%26&plain=1";
        let tree = to_json(&parse(form.as_bytes()).unwrap());
        let expected = json!({
            "a": [{ "b": "c" }, { "b": "d e" }], "list": ["x", "y"], "m": { "k": "ä&" }, "plain": "1",
        });
        assert_eq!(tree, expected);
    }

    #[test]
    fn a_list_is_in_the_order_of_its_numbers() {
        let form: String = (0..12).rev().map(|number| format!("a[{number}]=v{number}&")).collect();
        let tree = to_json(&parse(form.as_bytes()).unwrap());
        assert_eq!(tree["a"][10], "v10");
        assert_eq!(tree["a"][2], "v2");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for form in ["a[b=1", "a]b=1", "[a]=1", "a[[b]]=1", "a=1&a[b]=2", "a[b]=2&a=1", "a[1][2][3][4][5][6][7][8]=1"] {
            assert_eq!(parse(form.as_bytes()).unwrap_err().status, 400, "{form}");
        }
    }
}

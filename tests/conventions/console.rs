//! What no template of the console may have: its pages obey a policy without exceptions, and stand behind any path.

use std::fs;

use holdfast_tests::repo_root;

/// Each with why not.
const FORBIDDEN: [(&str, &str); 12] = [
    ("|safe", "what others have chosen would be run"),
    ("| safe", "what others have chosen would be run"),
    ("escape \"none\"", "what others have chosen would be run"),
    (" style=", "the policy does not let it be"),
    ("<style", "the policy does not let it be"),
    (" onclick", "the policy does not let it be"),
    ("hx-on", "the policy does not let it be"),
    ("js:", "the policy does not let it be"),
    ("javascript:", "the policy does not let it be"),
    ("=\"/", "it leads past the path that the console stands behind"),
    ("http:", "nothing comes from elsewhere"),
    ("https:", "nothing comes from elsewhere"),
];

#[test]
fn no_template_of_the_console_has_what_its_policy_forbids() {
    let templates = repo_root().join("services/gateway/templates");
    let mut seen = 0;
    for template in fs::read_dir(templates).unwrap() {
        let path = template.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for (word, why) in FORBIDDEN {
            assert!(!text.contains(word), "{} has {word:?}: {why}", path.display());
        }
        // A script is a file of ours, and never stands in a page.
        assert!(
            text.matches("<script").count()
                == text.matches("<script src=").count() + text.matches("<script type=\"module\" src=").count(),
            "{}",
            path.display()
        );
        seen += 1;
    }
    assert!(seen > 10, "{seen} templates");
}

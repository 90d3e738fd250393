//! The corpus holds, every target holds for a while, and the engine finds what has been hidden from it.

use std::{
    collections::BTreeSet,
    fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    attempt::{attempt, outline},
    corpus,
    engine::{INPUT_BYTES_MAX, Tally, Until, fuzz},
    targets::{Checked, Shape, TARGETS, Target},
};

/// Inputs of each target in a test. Most frames cost a connection each.
fn inputs(target: &Target) -> u64 {
    if target.name == "frames" { 1_000 } else { 4_000 }
}

const fn planted(check: fn(&[u8]) -> Checked) -> Target {
    let seeds = || vec![b"a seed, and some words more: one, two, three".to_vec()];
    Target { name: "planted", shape: Shape::Text, heads: || &[], tokens: &["needle", "hay"], seeds, check }
}

fn has(input: &[u8], word: &str) -> bool {
    input.windows(word.len()).any(|part| part == word.as_bytes())
}

fn found(check: fn(&[u8]) -> Checked) -> Tally {
    let tally = fuzz(&planted(check), &[], 1, Until::Inputs(20_000));
    assert_eq!(tally.failures.len(), 1, "{:?}", tally.failures);
    tally
}

#[test]
fn the_corpus_holds() {
    for target in TARGETS {
        let corpus = corpus::read(target.name);
        assert!(corpus.len() >= 3, "{}: there are {} inputs", target.name, corpus.len());
        for input in corpus.iter().chain(&(target.seeds)()) {
            if let Err(what) = attempt(target, input) {
                panic!("{}: {what}\n\"{}\"", target.name, input.escape_ascii());
            }
            assert!(input.len() <= INPUT_BYTES_MAX, "{}", target.name);
        }
    }
}

#[test]
fn every_folder_of_the_corpus_is_of_a_target() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let folders = fs::read_dir(corpus::folder("")).unwrap();
    let folders: BTreeSet<String> = folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names);
}

/// Memory is the process's: where tests are threads of one, who takes much of it and who looks at it take turns.
static MEMORY: Mutex<()> = Mutex::new(());

#[test]
fn every_target_holds_for_a_while_and_gets_further() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    for target in TARGETS {
        let corpus = corpus::read(target.name);
        let begun = fuzz(target, &corpus, 7, Until::Inputs(1));
        let tally = fuzz(target, &corpus, 7, Until::Inputs(inputs(target)));
        if let Some(failure) = tally.failures.first() {
            panic!("{}: {}\n\"{}\"", target.name, failure.what, failure.input.escape_ascii());
        }
        assert!(tally.signatures > begun.signatures, "{}: nothing but {}", target.name, tally.signatures);
    }
}

#[test]
fn the_same_seed_gives_the_same_inputs() {
    for target in TARGETS {
        let run = |seed| fuzz(target, &corpus::read(target.name), seed, Until::Inputs(300)).digest;
        assert_eq!(run(3), run(3), "{}", target.name);
        assert_ne!(run(3), run(4), "{}", target.name);
    }
}

#[test]
fn a_hidden_panic_is_found_and_made_short() {
    let tally = found(|input| {
        assert!(!has(input, "needle"), "{} bytes with a needle", input.len());
        Ok(String::new())
    });
    assert_eq!(tally.failures[0].input, b"needle");
    assert!(tally.failures[0].what.contains("a needle at tests/fuzz/tests.rs"), "{:?}", tally.failures);
}

#[test]
fn a_panic_that_is_caught_is_one_all_the_same() {
    found(|input| {
        drop(std::panic::catch_unwind(|| assert!(!has(input, "needle"))));
        Ok(String::new())
    });
}

#[test]
fn a_wrong_answer_is_found_and_made_short() {
    let check = |input: &[u8]| if has(input, "needle") { Err("a needle".to_owned()) } else { Ok(String::new()) };
    assert_eq!(found(check).failures[0].input, b"needle");
}

/// Five steps, none of which chance takes with the others: they are found one after the other, by what each says.
#[test]
fn what_ends_in_a_new_way_is_gone_on_from() {
    let check = |input: &[u8]| {
        let steps = ["needle", "needlehay", "needlehayneedle", "needlehayneedlehay", "needlehayneedlehayneedle"];
        let taken = steps.iter().filter(|step| has(input, step)).count();
        if taken == steps.len() { Err("all steps".to_owned()) } else { Ok("step".repeat(taken)) }
    };
    assert_eq!(found(check).failures[0].input, b"needlehayneedlehayneedle");
    // Without telling them apart, it is not.
    let blind =
        |input: &[u8]| if has(input, "needlehayneedlehayneedle") { Err(String::new()) } else { Ok(String::new()) };
    assert_eq!(fuzz(&planted(blind), &[], 1, Until::Inputs(20_000)).failures.len(), 0);
}

#[test]
fn what_takes_long_is_found() {
    let tally = found(|input| {
        let begun = std::time::Instant::now();
        while has(input, "needle") && begun.elapsed() < Duration::from_millis(300) {}
        Ok(String::new())
    });
    assert_eq!(outline(&tally.failures[0].what), "it takes  ms");
}

#[test]
fn what_takes_memory_is_found() {
    let _alone = MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let tally = found(|input| {
        let bytes = if has(input, "needle") { 300 << 20 } else { 0 };
        // Touched, or it is not there.
        let memory = vec![1_u8; bytes];
        Ok(memory.iter().step_by(4_096).map(|byte| usize::from(*byte)).sum::<usize>().min(1).to_string())
    });
    assert!(tally.failures[0].what.starts_with("it takes memory"), "{:?}", tally.failures);
}

#[test]
fn a_failure_is_kept_under_a_name_of_its_own() {
    let dir = tempfile::TempDir::new().unwrap();
    let folder = dir.path().join("planted");
    let path = corpus::keep(&folder, b"needle");
    assert_eq!(path, corpus::keep(&folder, b"needle"));
    assert_ne!(path, corpus::keep(&folder, b"hay"));
    assert_eq!(fs::read(path).unwrap(), b"needle");
}

#[test]
fn signatures_have_no_numbers_and_no_quotations() {
    assert_eq!(outline("quantity of \"mug 7\" must be 1 to 1000, not 12"), "quantity of \"\" must be  to , not ");
    assert_eq!(outline("`7` 8 «9» 'a' \"b\\\"c\" end"), "``  «» '' \"\" end");
}

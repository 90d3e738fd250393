//! What every command says of itself: the help is what it was, has an example, and every example can be typed.

use std::{env, fs, path::PathBuf};

use audit::diagnosis::Code;
use clap::{Command, CommandFactory, Parser};

use super::Cli;

/// The command and all commands below it that do something, by their words.
fn leaves() -> Vec<(String, Command)> {
    let mut cli = Cli::command().disable_help_subcommand(true).mut_args(|arg| arg.hide_env_values(true));
    cli.build();
    let (mut leaves, mut open) = (Vec::new(), vec![("holdfast".to_owned(), cli)]);
    while let Some((words, command)) = open.pop() {
        let below = command.get_subcommands().map(|below| (format!("{words} {}", below.get_name()), below.clone()));
        let below: Vec<_> = below.collect();
        if below.is_empty() || command.is_args_conflicts_with_subcommands_set() {
            leaves.push((words, command));
        }
        open.extend(below);
    }
    leaves.sort_by(|(one, _), (other, _)| one.cmp(other));
    leaves
}

/// With `HOLDFAST_BLESS` in the environment the file becomes what is said.
#[test]
fn the_help_is_what_it_was() {
    let said = leaves().into_iter().map(|(words, command)| {
        let mut command = command.bin_name(&words);
        format!("$ {words} --help\n{}\n", command.render_long_help())
    });
    let said: String = said.collect();
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/help.txt");
    if env::var_os("HOLDFAST_BLESS").is_some() {
        fs::write(&file, &said).unwrap();
    }
    assert!(said == fs::read_to_string(&file).unwrap(), "bless {} if it should be so", file.display());
}

#[test]
fn every_command_has_an_example_and_says_its_exit_codes_and_every_example_can_be_typed() {
    for (words, command) in leaves() {
        let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains("Exit codes:"), "{words} does not say its exit codes");
        let examples: Vec<&str> = after.lines().filter(|line| line.starts_with("  holdfast ")).collect();
        assert!(examples.iter().any(|example| example.contains(&words)), "{words} has no example");
        for example in examples {
            let parsed = Cli::try_parse_from(split(example));
            assert!(parsed.is_ok(), "{example}: {}", parsed.err().map(|error| error.to_string()).unwrap_or_default());
        }
    }
}

/// What a page says is to be done may leave words out, but names no command and no option that is not there.
#[test]
fn every_command_that_a_page_of_a_code_names_is_there() {
    let cli = Cli::command();
    let pages = Code::ALL.iter().map(|code| code.page().act);
    let commands =
        pages.flat_map(|act| act.split('`').skip(1).step_by(2)).filter(|words| words.starts_with("holdfast "));
    let mut named = 0;
    for line in commands {
        let mut command = &cli;
        for word in line.split_whitespace().skip(1) {
            if let Some(option) = word.strip_prefix("--") {
                let is_it = |arg: &clap::Arg| arg.get_long() == Some(option);
                assert!(command.get_arguments().chain(cli.get_arguments()).any(is_it), "{line}: no option --{option}");
            } else if command.has_subcommands() {
                command = command.find_subcommand(word).unwrap_or_else(|| panic!("{line}: no command {word}"));
            }
        }
        named += 1;
    }
    assert!(named > 5, "{named}");
}

/// An id that an example cuts short.
const ID: &str = "0199a1c2-7b1e-7c3d-9e4f-5a6b7c8d9e0f";

/// The words of a line as a shell would make them, up to where its output goes.
fn split(line: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), None::<String>, false);
    for letter in line.chars() {
        match letter {
            '\'' => {
                is_quoted = !is_quoted;
                word.get_or_insert_default();
            }
            '<' | '>' | '|' if !is_quoted => break,
            ' ' if !is_quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words.into_iter().map(|word| if word.ends_with('…') { ID.to_owned() } else { word }).collect()
}

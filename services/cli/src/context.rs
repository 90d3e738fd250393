//! `holdfast context`: the gateways that a person talks to, and his token for each.

use std::{
    fs,
    io::{self, IsTerminal, Read},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use platform::print::{self, Cell, Look, Paint, Table};
use serde_json::json;

use crate::{
    gateway::contexts::{Context, Contexts, Token, name},
    global_args::GlobalArgs,
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  holdfast context add shop --url https://holdfast.shop.example --token-file token.txt --production
  holdfast context add local --url http://127.0.0.1:8080 < token.txt
  holdfast context list
  holdfast context use local
  holdfast context show
  holdfast context remove shop

They are in $XDG_CONFIG_HOME/holdfast/contexts.toml, or else in ~/.config, which nobody else may read. HOLDFAST_CONTEXT or --context name
another one than the current one. A token is never on the command line, and never shown.

Exit codes: 0 it is so; 2 wrong usage, or there is no such context; 3 the file cannot be read or written.";

/// The most bytes of a file with a token.
const TOKEN_BYTES_MAX: u64 = 65_536;

/// Options of `holdfast context`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Note a gateway, and the token that proves who you are there. The first one is used from then on.
    Add(Add),
    /// List them, the one in use marked.
    #[command(after_help = EXAMPLES)]
    List,
    /// Use one from now on.
    #[command(after_help = EXAMPLES)]
    Use(Named),
    /// Forget one, with its token.
    #[command(after_help = EXAMPLES)]
    Remove(Named),
    /// Say which one is in use, and what is known of it.
    #[command(after_help = EXAMPLES)]
    Show,
}

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
struct Add {
    /// What it is to be called.
    #[arg(value_name = "NAME", value_parser = name)]
    name: String,
    /// Where the gateway is.
    #[arg(long, value_name = "URL")]
    url: String,
    /// The file that has the token, and nothing else. Without it, the token is read from standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Ask before something is changed there.
    #[arg(long)]
    production: bool,
    /// Take the place of the context that has this name.
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The context.
    #[arg(value_name = "NAME")]
    name: String,
}

/// Does what is said: exit code 0, or 2 if it cannot be.
pub fn run(args: Args, global: &GlobalArgs) -> Result<ExitCode> {
    let mut contexts = Contexts::read()?;
    match args.verb {
        Verb::Add(args) => add(contexts, args),
        Verb::List => list(&contexts, global),
        Verb::Use(Named { name }) => {
            contexts.named(&name)?;
            contexts.current = Some(name);
            contexts.write()?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Remove(Named { name }) => {
            contexts.named(&name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.write()?;
            Ok(ExitCode::SUCCESS)
        }
        Verb::Show => show(&contexts, global),
    }
}

fn add(mut contexts: Contexts, args: Add) -> Result<ExitCode> {
    let refuse = |mistake: &str| {
        eprintln!("holdfast: {mistake}");
        Ok(ExitCode::from(2))
    };
    let Add { name, url, token_file, production, replace } = args;
    if contexts.contexts.contains_key(&name) && !replace {
        return refuse(&format!(
            "there is a context {name} already: --replace takes its place, or `holdfast context remove {name}`"
        ));
    }
    let token = match token_file {
        Some(path) => {
            read(fs::File::open(&path).with_context(|| format!("opening the token's file {}", path.display()))?)?
        }
        None if io::stdin().is_terminal() => {
            return refuse(
                "where is the token? Name its file with --token-file FILE, or give it on standard input: < FILE",
            );
        }
        None => read(io::stdin().lock())?,
    };
    let context = match Token::read(&token).and_then(|token| Context::new(&url, production, token)) {
        Ok(context) => context,
        Err(mistake) => return refuse(&mistake),
    };
    if context.is_readable_on_the_way() {
        eprintln!(
            "holdfast: beware: whoever is between here and {} can read the token, for it is no https://",
            context.url
        );
    }
    contexts.contexts.insert(name.clone(), context);
    contexts.current.get_or_insert(name);
    contexts.write()?;
    Ok(ExitCode::SUCCESS)
}

fn read(from: impl Read) -> Result<String> {
    let mut text = String::new();
    from.take(TOKEN_BYTES_MAX).read_to_string(&mut text).context("reading the token")?;
    Ok(text)
}

/// The name of the one in use, if there is any.
fn in_use<'a>(contexts: &'a Contexts, global: &'a GlobalArgs) -> Option<&'a str> {
    global.context.as_deref().or(contexts.current.as_deref())
}

fn list(contexts: &Contexts, global: &GlobalArgs) -> Result<ExitCode> {
    let in_use = in_use(contexts, global);
    let of = |(name, context): (&String, &Context)| json!({ "context": name, "url": context.url, "production": context.production, "in_use": in_use == Some(name.as_str()) });
    let all: Vec<_> = contexts.contexts.iter().map(of).collect();
    match global.output() {
        Output::Json => print::json(&json!({ "data": all, "has_more": false }))?,
        Output::Jsonl => all.iter().try_for_each(print::json)?,
        Output::Name => print::out(&contexts.contexts.keys().map(|name| format!("{name}\n")).collect::<String>())?,
        Output::Table => {
            let mut table = Table::default();
            for (name, context) in &contexts.contexts {
                let mark = if in_use == Some(name.as_str()) { "*" } else { " " };
                let kind = if context.production { Cell::new("production", Look::Bad) } else { Cell::from("") };
                table.row([mark.into(), name.as_str().into(), context.url.as_str().into(), kind]);
            }
            let none = contexts.contexts.is_empty();
            print::out(&if none { "no context\n".to_owned() } else { table.text(Paint::for_stdout()) })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(contexts: &Contexts, global: &GlobalArgs) -> Result<ExitCode> {
    let Some(name) = in_use(contexts, global) else {
        eprintln!("holdfast: no context is in use: `holdfast context add` makes one");
        return Ok(ExitCode::from(2));
    };
    let context = contexts.named(name)?;
    match global.output() {
        Output::Json | Output::Jsonl => {
            print::json(
                &json!({ "context": name, "url": context.url, "production": context.production, "in_use": true }),
            )?;
        }
        Output::Name => print::out(&format!("{name}\n"))?,
        Output::Table => {
            let kind = if context.production { ", production" } else { "" };
            print::out(&format!("{name}: {}{kind}\n", context.url))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

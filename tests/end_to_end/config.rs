//! Settings as people check them: all that is wrong at once, and no secret in what is printed.

use std::{
    fs,
    process::{Output, Stdio},
};

use holdfast_tests::holdfast;
use testbed::{fleet::worker_binary, servers::scratch_dir};
use tokio::process::Command;

/// Whatever has it is printed although nobody should see it.
const SECRET: &str = "hush-hush";

fn said(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(!said.contains(SECRET), "{said}");
    said
}

/// What a program makes of this file and these variables.
async fn run(mut program: Command, file: &str, variables: &[(&str, &str)]) -> Output {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let path = dir.path().join("holdfast.toml");
    fs::write(&path, file).unwrap();
    program.env("HOLDFAST_CONFIG", &path).envs(variables.iter().copied()).stdin(Stdio::null());
    program.output().await.unwrap()
}

fn config(what: &[&str]) -> Command {
    let mut command = Command::new(holdfast());
    command.arg("config").args(what);
    command
}

#[tokio::test]
async fn settings_are_shown_with_where_they_are_from_and_without_secrets() {
    let file = format!("[database]\nurl = \"postgres://orders:{SECRET}@db/holdfast?sslpassword={SECRET}\"\n");
    let variables = [
        ("HOLDFAST_BROKER_URL", "nats://hush-hush@one:4222,nats://u:hush-hush@two:4222"),
        ("HOLDFAST_RELAY_TICK_MS", "70"),
    ];
    let shown = run(config(&["show"]), &file, &variables).await;
    let text = said(&shown);
    assert_eq!(shown.status.code(), Some(0), "{text}");
    for words in [
        "url = \"postgres://orders:***@db/holdfast?sslpassword=***\"  # ",
        "url = \"nats://***@one:4222,nats://u:***@two:4222\"  # HOLDFAST_BROKER_URL",
        "tick_ms = 70  # HOLDFAST_RELAY_TICK_MS",
        "drain_ms = 4000\n",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let checked = run(config(&["check"]), &file, &variables).await;
    assert_eq!((checked.status.code(), said(&checked).as_str()), (Some(0), "the settings are right\n"));
}

/// People write a secret where the name of its file belongs.
#[tokio::test]
async fn a_secret_in_the_place_of_its_file_is_a_mistake_that_does_not_show_it() {
    let file = "[stripe]\nsecret_key = \"hush-hush\"\nwebhook_secrets = \"whsec_hush-hush\"\n[mail]\npassword = \"a/hush-hush\"\n\
                [gateway]\nlink_secret = \"hush-hush\"\ntokens = \"hush-hush\"\n[broker]\ncredentials = \"SUhush-hush\"\n";
    for what in [&["check"][..], &["check", "--json"], &["show"]] {
        let output = run(config(what), file, &[]).await;
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for setting in ["stripe.secret_key", "stripe.webhook_secrets", "mail.password", "gateway.link_secret"] {
            assert!(text.contains(setting), "{setting} is not in {text}");
        }
    }
}

#[tokio::test]
async fn a_worker_with_mistakes_in_its_settings_tells_all_of_them_and_does_not_start() {
    let worker = Command::new(worker_binary("orders").unwrap());
    let variables = [("HOLDFAST_PROCES_DRAIN_MS", "7"), ("HOLDFAST_CONSUMER_BATCH_MAX", "0")];
    let file = format!("[database]\nurl = \"postgres://orders:{SECRET}@db/holdfast\n");
    let output = run(worker, &file, &variables).await;
    let text = said(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    for words in
        ["3 mistakes", "line 2", "did you mean HOLDFAST_PROCESS_DRAIN_MS?", "consumer.batch_max: must be 1 to 5000"]
    {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

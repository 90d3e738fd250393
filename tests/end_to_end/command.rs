//! The `holdfast` command as people run it: what it prints, and with which exit code it ends.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Output, Stdio},
};

use holdfast_tests::{Order, TestFleet, holdfast, python, repo_root};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testbed::{
    fleet::DATABASE,
    servers::{Postgres, SUPERUSER, scratch_dir},
};
use tokio::process::Command;

async fn run(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    Command::new(program).args(args).stdin(Stdio::null()).output().await.unwrap()
}

/// Every command that the help lists is completed, and has a page in the manual, with its example if it has one.
#[tokio::test]
async fn a_shell_and_the_manual_know_every_command() {
    let help = String::from_utf8(run(holdfast(), &["--help"]).await.stdout).unwrap();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let (commands, _) = commands.split_once("\n\n").unwrap();
    let commands: Vec<&str> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"replay") && commands.contains(&"completions"), "{commands:?}");

    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    assert!(run(holdfast(), &["manual", pages.to_str().unwrap()]).await.status.success());
    let script = dir.path().join("completions");
    std::fs::write(&script, run(holdfast(), &["completions", "bash"]).await.stdout).unwrap();
    for command in commands.into_iter().filter(|command| *command != "help") {
        let page = std::fs::read_to_string(pages.join(format!("holdfast-{command}.1"))).unwrap();
        assert!(page.contains(".TH"), "{command}: {page}");
        let ask = format!(
            "source {}; COMP_WORDS=(holdfast {command}); COMP_CWORD=1; _holdfast holdfast {command} holdfast; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let said = run("bash", &["-c", &ask]).await;
        let said = String::from_utf8_lossy(&said.stdout).into_owned() + &String::from_utf8_lossy(&said.stderr);
        assert!(said.split_whitespace().any(|word| word == command), "{command}: {said}");
    }
}

#[tokio::test]
async fn verify_finds_a_row_changed_by_hand_and_names_the_product() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    fleet.stock("CUP", 10).await.unwrap();
    let orders: Vec<Order> = (0..10).map(|number| Order::new(number).line("MUG", 1)).collect();
    fleet.place_all(&orders).await.unwrap();
    fleet.settle().await.unwrap();
    let mut database = fleet.database().await.unwrap();
    assert_eq!(fleet.command(&["verify"]).await.unwrap().0, Some(0));

    let change = "update inventory.stock set received = received + 1 where sku = 'MUG'";
    sqlx::query(change).execute(&mut database).await.unwrap();
    let (code, report) = fleet.command(&["verify"]).await.unwrap();
    assert_eq!(code, Some(1), "{report}");
    assert_eq!(report["ok"], false);
    let findings = report["findings"].to_string();
    assert!(findings.contains("MUG") && !findings.contains("CUP"), "{findings}");

    let restore = "update inventory.stock set received = received - 1 where sku = 'MUG'";
    sqlx::query(restore).execute(&mut database).await.unwrap();
    let (code, report) = fleet.command(&["verify"]).await.unwrap();
    assert_eq!(code, Some(0), "{report}");
}

#[tokio::test]
async fn status_says_what_does_not_go_on() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let (code, status) = fleet.command(&["status"]).await.unwrap();
    assert_eq!((code, status["stands"].to_string().as_str()), (Some(0), "[]"), "{status}");
    // Nobody does what is due, and a stream is gone.
    {
        let mut processes = fleet.processes().await;
        for service in proto::SERVICES {
            processes.stop_worker(service, 0).await.unwrap();
        }
    }
    let mut database = fleet.database().await.unwrap();
    let overdue = "insert into orders.timers values ('order-1', now() - interval '1 minute')";
    sqlx::query(overdue).execute(&mut database).await.unwrap();
    let jetstream = async_nats::jetstream::new(fleet.client.client().clone());
    jetstream.delete_stream("EVENTS").await.unwrap();
    let (code, status) = fleet.command(&["status"]).await.unwrap();
    assert_eq!(code, Some(1), "{status}");
    let said = status["stands"].to_string();
    assert!(said.contains("the stream EVENTS is missing") && said.contains("orders: 1 timers are overdue"), "{said}");
}

#[tokio::test]
async fn a_dirty_trace_is_loaded_row_by_row_and_its_closing_stock_can_be_computed_by_others() {
    let fleet = TestFleet::start().await.unwrap();
    let trace = repo_root().join("tests/trace/dirty.csv");
    let (stock, refused) = (fleet.dir().join("stock.csv"), fleet.dir().join("refused.csv"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (trace, stock, refused) = (text(&trace), text(&stock), text(&refused));
    let (code, report) =
        fleet.command(&["load", "--trace", &trace, "--stock-out", &stock, "--refused-out", &refused]).await.unwrap();
    assert_eq!(code, Some(0), "{report}");

    // Rows in = rows accepted + rows refused, and each refused one is named with its reason.
    // One row has two line breaks inside quotes.
    let rows = std::fs::read(&trace).unwrap().split(|byte| *byte == b'\n').count() - 1 - 2;
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"));
    assert_eq!(number("rows_in"), u64::try_from(rows).unwrap());
    assert_eq!(number("rows_in"), number("rows_accepted") + number("rows_refused"));
    let named = std::fs::read_to_string(&refused).unwrap().lines().count() - 1;
    assert_eq!(number("rows_refused"), u64::try_from(named).unwrap());

    let script = text(&repo_root().join("tests/trace/closing_stock.py"));
    let compared = run(python(), &["-B", &script, &trace, &stock]).await;
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    fleet.settle_and_verify().await.unwrap();
}

/// A file as pandas or Excel writes it: the run must not end as if all were well when nothing came of it, or too little.
#[tokio::test]
async fn a_trace_of_which_nothing_or_too_little_is_accepted_ends_with_exit_code_1_and_says_why() {
    const HEADER: &str = "invoice_no,stock_code,description,quantity,invoice_date,unit_price,customer_id,country";
    let fleet = TestFleet::start().await.unwrap();
    let refused = fleet.dir().join("refused.csv");
    let play = async |rows: &[&str], more: &[&str]| {
        let trace = fleet.dir().join("trace.csv");
        std::fs::write(&trace, format!("{HEADER}\n{}\n", rows.join("\n"))).unwrap();
        let (trace, refused) = (trace.to_str().unwrap(), refused.to_str().unwrap());
        let (code, report) =
            fleet.command(&[&["load", "--trace", trace, "--refused-out", refused], more].concat()).await.unwrap();
        (code, report)
    };
    let good = "536365,85123A,MUG,6,2010-12-01T08:26:00,2.55,17850,UK";
    let pandas = "536366,85123A,MUG,6,2010-12-01 08:26:00,2.55,17850.0,UK";
    let excel = "536367,85123A,MUG,6,01/12/2010 08:26,2.55,17850,UK";

    let (code, report) = play(&[pandas, excel], &[]).await;
    assert_eq!((code, &report["ok"]), (Some(1), &false.into()), "{report}");
    assert_eq!(report["problems"][0], "nothing was accepted of 2 rows");
    let first = &report["refusals"][0]["first"];
    assert_eq!((&first["line"], &first["column"]), (&2.into(), &"invoice_date".into()));
    assert_eq!(first["value"], "\"2010-12-01 08:26:00\"");
    assert_eq!(first["expected"], "a time like 2010-12-01T08:26:00");
    let told = std::fs::read_to_string(&refused).unwrap();
    assert!(told.contains("3,unreadable_invoice_date,invoice_date,\"\"\"01/12/2010 08:26\"\"\","), "{told}");

    let (code, report) = play(&[good, good, pandas], &["--refused-max", "34"]).await;
    assert_eq!((code, &report["ok"]), (Some(0), &true.into()), "{report}");
    let (code, report) = play(&[good, good, pandas], &["--refused-max", "33"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report["problems"][0].as_str().unwrap().starts_with("1 of 3 rows were refused"), "{report}");

    let (code, report) = play(&[good, good, "536368,85123A,\"MUG", good], &["--refused-max", "100"]).await;
    assert_eq!(code, Some(1), "{report}");
    assert!(report["problems"][0].as_str().unwrap().starts_with("from line 4 on nothing could be read"), "{report}");
    assert_eq!(fleet.number("select count(*) from orders.orders").await.unwrap(), 1);
}

#[tokio::test]
async fn an_operator_expires_orders_by_hand() {
    let fleet = TestFleet::start().await.unwrap();
    fleet.stock("MUG", 10).await.unwrap();
    let orders: Vec<Order> = (0..3).map(|number| Order::new(number).line("MUG", 1).pays("sandbox:never")).collect();
    fleet.place_all(&orders).await.unwrap();
    let [first, second, third] = [0, 1, 2].map(|place: usize| orders[place].id.to_string());
    let expire = async |args: &[&str]| {
        let words = ["--actor", "ann", "--note", "the sale is over"];
        let (code, report) = fleet.command(&[&["expire"], args, &words].concat()).await.unwrap();
        let count = |word: &str| report[word].as_u64().unwrap();
        (code.unwrap(), [count("released"), count("skipped"), count("failed")], report["orders"].clone())
    };
    let (code, counts, named) = expire(&["--customer", "customer-0", "--dry-run"]).await;
    assert_eq!((code, counts, &named[0]["order_id"]), (0, [0, 0, 0], &serde_json::json!(first)));
    // Nothing is due, the customer's one is, and of what is named twice there is one.
    assert_eq!(expire(&[]).await.1, [0, 0, 0]);
    assert_eq!(expire(&["--customer", "customer-0"]).await.1, [1, 0, 0]);
    let (code, counts, _) = expire(&[&first, &second, &second]).await;
    assert_eq!((code, counts), (0, [1, 1, 0]));
    let (code, counts, named) = expire(&[&third, "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81"]).await;
    assert_eq!((code, counts), (1, [1, 0, 1]), "{named}");
    let actors = "select count(*) from log.events where type like '%.OrderExpired' and position('ann' in encode(data, 'escape')) > 0";
    assert_eq!(fleet.number(actors).await.unwrap(), 3);
    let output = run(holdfast(), &["expire", "--note", "x"]).await;
    assert_eq!(output.status.code(), Some(2), "who asks must be said");
    fleet.settle_and_verify().await.unwrap();
}

#[tokio::test]
async fn wrong_usage_and_a_fleet_that_is_not_there_have_exit_codes_of_their_own() {
    let code = async |args: &[&str]| run(holdfast(), args).await.status.code();
    assert_eq!(code(&["explode"]).await, Some(2));
    assert_eq!(code(&["load", "--orders", "0"]).await, Some(2));
    assert_eq!(code(&["verify", "--dir", "/nowhere/at/all"]).await, Some(3));
    assert_eq!(code(&["verify", "--database-url", "postgres://127.0.0.1:1/none"]).await, Some(3));
}

#[tokio::test]
async fn a_worker_whose_credentials_are_not_there_says_so_and_does_not_wait_for_them() {
    let output = Command::new(holdfast().with_file_name("holdfast-orders"))
        .env("HOLDFAST_BROKER_CREDENTIALS", "/nowhere/nats.creds")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complained}");
    assert!(complained.contains("broker.credentials") && complained.contains("/nowhere/nats.creds"), "{complained}");
}

#[tokio::test]
async fn a_worker_with_wrong_settings_names_them_whatever_else_is_in_its_environment() {
    let output = Command::new(holdfast().with_file_name("holdfast-orders"))
        .env("HOLDFAST_CONSUMER_BATCH_MAX", "0")
        .env(OsStr::from_bytes(b"ODD\xff"), OsStr::from_bytes(b"\xff"))
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{complained}");
    assert!(complained.contains("consumer.batch_max"), "{complained}");
}

/// The statements of the operators' page below a heading, in their order.
fn statements(page: &str, heading: &str) -> Vec<String> {
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks
        .flat_map(|block| block.split(';'))
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect()
}

#[tokio::test]
async fn the_operators_page_makes_a_database_that_its_owner_migrates_and_an_older_program_does_not() {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let postgres = Postgres::start(&dir.path().join("pg")).await.unwrap();
    let page = std::fs::read_to_string(repo_root().join("deploy/README.md")).unwrap();
    let before = statements(&page, "The database");
    assert!(!before.is_empty(), "{page}");
    let mut server = PgConnection::connect(&postgres.url(SUPERUSER, "postgres")).await.unwrap();
    for statement in before {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut server).await.unwrap();
    }
    let url = postgres.url("holdfast_owner", DATABASE);
    let settings = dir.path().join("owner.toml");
    std::fs::write(&settings, format!("[database]\nurl = {url:?}\n")).unwrap();
    let run = async |args: &[&str]| {
        let mut command = Command::new(holdfast());
        command.arg("migrate").args(args).arg("--json").env("HOLDFAST_CONFIG", &settings);
        let output = command.output().await.unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let migrate = async || run(&[]).await;
    let dry_run = async || {
        let (code, said, error) = run(&["--dry-run"]).await;
        let said: serde_json::Value = serde_json::from_str(&said).expect(&error);
        (code, said["lacks"].as_array().unwrap().len(), said["unknown"].clone())
    };
    // All files but the page about them.
    let files = std::fs::read_dir(repo_root().join("migrations")).unwrap().count() - 1;
    // And asking twice shows that nothing was applied.
    for _ in 0..2 {
        assert_eq!(dry_run().await, (Some(1), files, json!([])));
    }
    let (code, first, error) = migrate().await;
    assert_eq!(code, Some(0), "{error}");
    assert!(first.contains(&format!("\"applied\":{files}")), "{first}");
    let (code, again, error) = migrate().await;
    assert_eq!(code, Some(0), "{error}");
    assert!(again.contains("\"applied\":0"), "{again}");
    assert_eq!(dry_run().await, (Some(0), 0, json!([])));

    let roles = make_credentials(&dir.path().join("secrets")).await.join("postgres/roles.sql");
    let roles = std::fs::read_to_string(roles).unwrap();
    let mut superuser = PgConnection::connect(&postgres.url(SUPERUSER, DATABASE)).await.unwrap();
    // Whoever gives one another password does it again.
    for _ in 0..2 {
        sqlx::raw_sql(AssertSqlSafe(roles.clone())).execute(&mut superuser).await.unwrap();
    }
    let without =
        "select count(*) from pg_authid where rolcanlogin and rolname like 'holdfast\\_%' and rolpassword is null";
    let without: i64 = sqlx::query_scalar(without).fetch_one(&mut server).await.unwrap();
    assert_eq!(without, 0, "roles that have no password");

    // A newer program has been here.
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                 values (9999, 'newer', true, '', 0)";
    sqlx::query(newer).execute(&mut superuser).await.unwrap();
    assert_eq!(dry_run().await, (Some(0), 0, json!([9999])));
    let (code, _, error) = migrate().await;
    assert!(code == Some(3) && error.contains("9999"), "{error}");
}

/// What operators make by deploy/credentials.py, in this directory.
async fn make_credentials(directory: &Path) -> &Path {
    let output = run_credentials(directory).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    directory
}

async fn run_credentials(directory: &Path) -> Output {
    let mut command = Command::new(python());
    command.arg("-B").arg(repo_root().join("deploy/credentials.py")).arg(directory);
    command.output().await.unwrap()
}

#[tokio::test]
async fn another_token_is_made_only_together_with_what_tells_the_gateway_of_it() {
    let dir = scratch_dir("holdfast-test-").unwrap();
    let secrets = dir.path().join("secrets");
    let token = make_credentials(&secrets).await.join("token");
    let before = std::fs::read_to_string(&token).unwrap();
    std::fs::remove_file(&token).unwrap();
    let output = run_credentials(&secrets).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("tokens.toml does not know"), "{said}");
    std::fs::remove_file(secrets.join("holdfast-gateway/tokens.toml")).unwrap();
    make_credentials(&secrets).await;
    assert_ne!(std::fs::read_to_string(&token).unwrap(), before);
}

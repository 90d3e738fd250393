//! Loads against a fleet of its own: real servers, real workers.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use testbed::load::{
    progress::ProgressBars,
    synthetic::{self, Until},
    target_fleet::{KeepDir, TargetFleet},
    trace::{self, Report, refusal::Reason},
    workload::Workload,
};

fn dirty() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/trace/dirty.csv")
}

async fn play(file: &Path, target: &TargetFleet) -> Report {
    let options = trace::Options { file: file.to_owned(), opening: 100_000, progress: ProgressBars::new(true) };
    trace::play(trace::read(file).unwrap(), &options, target).await.unwrap()
}

/// The same trace, computed by a program that shares no code with ours.
fn recompute(trace: &Path, stock: &Path) {
    let python = env::var("HOLDFAST_PYTHON").unwrap_or_else(|_unset| "python3".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/trace/closing_stock.py");
    let compared =
        Command::new(python).arg("-B").arg(script).args([trace, stock]).output().expect("there is a python3");
    assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    assert_eq!(String::from_utf8_lossy(&compared.stdout), "6 products agree\n");
}

#[tokio::test]
async fn a_dirty_trace_is_accounted_for_row_by_row_and_playing_it_again_changes_nothing() {
    let target = TargetFleet::private(None).await.unwrap();
    let report = play(&dirty(), &target).await;
    assert_eq!((report.rows_in, report.sold, report.returned, report.refused.len()), (27, 8, 2, 17));
    assert_eq!((report.orders, report.refunds), (5, 1));
    let dir = tempfile::tempdir().unwrap();
    let stock = dir.path().join("stock.csv");
    report.write_stock(&stock).unwrap();
    recompute(&dirty(), &stock);

    let again = play(&dirty(), &target).await;
    assert_eq!(Report { lasted: report.lasted, ..again }, report);

    // An order that the stock does not allow is refused with all its rows, and what it would have been matched to is not.
    let more = dir.path().join("more.csv");
    let mut text = fs::read(dirty()).unwrap();
    text.extend(
        b"\n536400,22632,X,999999,2010-12-01T09:59:00,1.85,17850,UK\n536400,71053,X,1,2010-12-01T09:59:00,1,17850,UK",
    );
    text.extend(b"\nC536401,71053,X,-1,2010-12-02T09:59:00,1,17850,UK\n");
    fs::write(&more, text).unwrap();
    let report = play(&more, &target).await;
    let rejected: Vec<u64> = report
        .refused
        .iter()
        .filter(|(_, why)| matches!(why.reason, Reason::OrderRejected(_)))
        .map(|(row, _)| *row)
        .collect();
    assert_eq!(rejected, [31, 32], "{:?}", report.refused);
    assert_eq!((report.rows_in, report.returned, report.refunds), (30, 3, 2));

    let verdict = audit::audit(&target.address.database_url).await.unwrap();
    assert!(verdict.ok, "{:?}", verdict.findings);
    target.leave(KeepDir::No).await.unwrap();
}

#[tokio::test]
async fn every_story_of_the_mix_ends_as_it_says() {
    let target = TargetFleet::private(None).await.unwrap();
    let workload = Workload::new(3, 300, 50, 5);
    let options = synthetic::Options { rate: Some(200), until: Until::AllIsSettled, progress: ProgressBars::new(true) };
    let run = synthetic::run(&target, &workload, &options, |_| ()).await.unwrap();
    let outcomes = &run.outcomes;
    assert!(run.is_as_told(), "{:?}", outcomes.examples);
    let all = outcomes.paid + outcomes.refunded + outcomes.expired + outcomes.cancelled + outcomes.rejected;
    assert_eq!((outcomes.orders, all), (300, 300));
    assert!(outcomes.expired > 20 && outcomes.refunded > 3 && outcomes.cancelled > 30, "{outcomes:?}");

    // The same seed again is the same orders again.
    let again = synthetic::run(&target, &workload, &options, |_| ()).await.unwrap();
    assert_eq!((again.outcomes.orders, again.outcomes.paid), (300, outcomes.paid));

    let verdict = audit::audit(&target.address.database_url).await.unwrap();
    assert!(verdict.ok, "{:?}", verdict.findings);
    target.leave(KeepDir::No).await.unwrap();
}

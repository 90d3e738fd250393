//! Simulates days of a shop on all four services, with everything going wrong that can, and looks after every step whether what
//! Holdfast promises still holds. A seed gives the same day again, to the microsecond.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::float_arithmetic,
    clippy::as_conversions,
    reason = "a simulation that breaks has found something"
)]

use std::{
    panic::catch_unwind,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Parser, builder::PossibleValuesParser};

mod engine;
#[cfg(test)]
mod letting_go;
mod locks;
mod provider;
mod simulated_service;
mod workload;

use engine::{Ended, Faults, Setup, simulate};

/// Orders of one simulated day.
const ORDERS: usize = 40;

/// Lines of a violation's timeline that are shown.
const SHOWN_MAX: usize = 120;

/// Simulates days of a shop with all that can go wrong, and checks after every step what must hold.
#[derive(Debug, Parser)]
struct Args {
    /// How long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first day's seed; the next days have the next ones. Chosen by chance if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Orders of one day.
    #[arg(long, default_value_t = ORDERS)]
    orders: usize,
    /// Days that are simulated at once: as many as there are processors, if not given.
    #[arg(long)]
    threads: Option<usize>,
    /// Faults that never strike, with commas between them.
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(Faults::names()))]
    without: Vec<String>,
    /// Only the first day, and all that happens in it.
    #[arg(long)]
    tell: bool,
    /// Show what is found as it is found, without looking for a shorter story of it.
    #[arg(long)]
    as_found: bool,
}

/// Messages and rows are many small allocations; with this allocator they cost less time than with the system's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    if args.tell {
        let ended = simulate(&Setup { seed, orders: args.orders, without: args.without, tells: true });
        ended.story.iter().for_each(|line| println!("{line}"));
        println!("{}", ended.violation.as_deref().unwrap_or("nothing is wrong"));
        return if ended.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    println!("seed {seed}, {} orders a day", args.orders);
    let begun = Instant::now();
    let Lived { days, events, steps, failed } = live(&args, seed, begun);
    if let Some((setup, violation)) = failed {
        println!("seed {}: {violation}", setup.seed);
        let shown = if args.as_found { setup } else { shrunk(setup) };
        report(&shown, days, steps);
        return ExitCode::FAILURE;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let orders = days as f64 * args.orders as f64;
    println!(
        "{days} days, {orders} orders, {events} events, {steps} steps in {seconds:.1} s: {:.0} orders a second; 0 violations",
        orders / seconds
    );
    ExitCode::SUCCESS
}

/// Days that were simulated, and the first of them that failed.
#[derive(Debug, Default)]
struct Lived {
    days: u64,
    events: usize,
    steps: u64,
    failed: Option<(Setup, String)>,
}

/// Simulates one day after the other, several at once, until one fails. The day that is told of is the first: all before it have ended, too.
fn live(args: &Args, seed: u64, begun: Instant) -> Lived {
    let (next, lived) = (AtomicU64::new(seed), Mutex::new(Lived::default()));
    let all = || lived.lock().unwrap_or_else(PoisonError::into_inner);
    let some = || {
        while begun.elapsed() < Duration::from_secs(args.seconds) && all().failed.is_none() {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let setup = Setup { seed, orders: args.orders, without: args.without.clone(), tells: false };
            let panicked = || Ended { violation: Some("it panics".to_owned()), ..Ended::default() };
            let ended = catch_unwind(|| simulate(&setup)).unwrap_or_else(|_| panicked());
            let mut lived = all();
            lived.days += 1;
            lived.events += ended.log.len();
            lived.steps += ended.steps;
            let is_first = lived.failed.as_ref().is_none_or(|(first, _)| seed < first.seed);
            lived.failed =
                ended.violation.filter(|_| is_first).map(|violation| (setup, violation)).or(lived.failed.take());
        }
    };
    let at_once = args.threads.or_else(|| thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    thread::scope(|scope| (0..at_once).for_each(|_| drop(scope.spawn(some))));
    lived.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The shortest story that can be found of what went wrong: with fewer orders and fewer kinds of faults, of this seed or one nearby.
fn shrunk(setup: Setup) -> Setup {
    let failing = |setup: Setup| {
        let mut nearby = (setup.seed..setup.seed + 200).map(|seed| Setup { seed, ..setup.clone() });
        nearby.find(|setup| simulate(setup).violation.is_some())
    };
    let mut best = setup.clone();
    while best.orders > 1
        && let Some(smaller) = failing(Setup { orders: best.orders / 2, ..best.clone() })
    {
        best = smaller;
    }
    for name in Faults::names().into_iter().filter(|name| !setup.without.iter().any(|other| other == name)) {
        let mut simpler = best.clone();
        simpler.without.push(name.to_owned());
        best = failing(simpler).unwrap_or(best);
    }
    best
}

fn report(setup: &Setup, days: u64, steps: u64) {
    let Ended { violation, story, .. } = simulate(&Setup { tells: true, ..setup.clone() });
    for line in story.iter().skip(story.len().saturating_sub(SHOWN_MAX)) {
        println!("{line}");
    }
    println!("violation after {days} days, {steps} steps: {}", violation.unwrap_or_default());
    let Setup { seed, orders, without, .. } = setup;
    let without = without.join(",");
    let option = if without.is_empty() { String::new() } else { format!(" --without {without}") };
    println!("again: just simulate --seed {seed} --orders {orders}{option} --tell");
    println!(
        "to be simulated by every test from now on: a line \"{seed} {orders} {without}\" in tests/simulation/failed.txt"
    );
}

#[cfg(test)]
mod tests {
    use super::{ORDERS, Setup, simulate};

    #[test]
    fn days_on_which_everything_goes_wrong_end_well() {
        for seed in 0..40 {
            let ended = simulate(&Setup { seed, orders: ORDERS, ..Setup::default() });
            assert_eq!(ended.violation, None, "seed {seed}");
        }
    }

    #[test]
    fn days_that_failed_once_end_well() {
        for line in include_str!("failed.txt").lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            let seed = words.next().unwrap().parse().unwrap();
            let orders = words.next().map_or(ORDERS, |orders| orders.parse().unwrap());
            let without = words.next().into_iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
            assert_eq!(simulate(&Setup { seed, orders, without, tells: false }).violation, None, "{line}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_day() {
        let day = || simulate(&Setup { seed: 7, orders: ORDERS, tells: true, ..Setup::default() }).story;
        assert!(!day().is_empty());
        assert_eq!(day(), day());
    }
}

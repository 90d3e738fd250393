//! Replay from files alone: what was exported is folded by the same rules, and no database is asked.

use std::path::Path;

use anyhow::{Result, bail};
use domain::{GlobalPosition, Timestamp};

use super::{
    Answer, Asked, At, Cut, Evidence, Kind, Movements, PROGRAM, Projection, Question, Skew,
    fold::{Fold, Folding},
    kinds::{CouponRows, OrderRows, PaymentRows, ShareRows, StockRows, WalletRows},
    prefix::Reader,
    quoted,
};
use crate::export::Exported;

/// Folds an export up to a moment, once it is proved to be what was exported.
///
/// # Errors
/// It is not, or does not begin with the log, or the moment is beyond it or before it, or an event cannot be read. Nothing is answered then.
pub fn replay_export<M: Movements>(path: &Path, question: &Question, movements: M) -> Result<Answer<M>> {
    match question.kind {
        Kind::Stock => of::<StockRows, M>(path, question, movements),
        Kind::Shares => of::<ShareRows, M>(path, question, movements),
        Kind::Orders => of::<OrderRows, M>(path, question, movements),
        Kind::Payments => of::<PaymentRows, M>(path, question, movements),
        Kind::Coupons => of::<CouponRows, M>(path, question, movements),
        Kind::Wallets => of::<WalletRows, M>(path, question, movements),
    }
}

fn of<P: Projection, M: Movements>(path: &Path, question: &Question, movements: M) -> Result<Answer<M>> {
    let mut fold = Fold::<P, M>::new(question, movements)?;
    let export = Exported::open(path)?;
    let cut = cut(&export, question.at.as_ref())?;
    let time = if let Some(At::Time(time)) = question.at { time } else { cut.recorded_at };
    let mut read = 0;
    let mut skew =
        Skew { time, later_before_the_cut: 0, first_later: None, earlier_behind_the_cut: 0, looked_at_behind: 0 };
    export.each(|event| {
        if event.position > cut.position {
            skew.looked_at_behind += 1;
            skew.earlier_behind_the_cut += u64::from(event.recorded_at <= time);
            return Ok(());
        }
        read += 1;
        if event.recorded_at > time {
            skew.later_before_the_cut += 1;
            skew.first_later.get_or_insert(event.position);
        }
        fold.take(event)
    })?;
    let Folding { rows, unknown, movements, folded, chosen } = fold.end(question.choice.as_ref());
    let mut asked = Asked::of(question);
    asked.command.push_str(&format!(" --from-export {}", quoted(&path.display().to_string())));
    let evidence = Evidence {
        asked,
        program: PROGRAM,
        database: export.database(),
        cut,
        skew,
        events_read: read,
        events_folded: folded,
        chosen,
        shard: question.shard,
        rows: rows.count(),
    };
    Ok(Answer { evidence, rows, unknown, movements })
}

/// Where a moment cuts it.
fn cut(export: &Exported, at: Option<&At>) -> Result<Cut> {
    let whole = export.cut();
    let is_up_to: Box<dyn Fn(GlobalPosition, Timestamp) -> bool> = match at {
        None => return Ok(whole),
        Some(At::Position(position)) if *position > whole.position => {
            bail!("position {position} is beyond the export, which ends at position {}", whole.position)
        }
        Some(At::Time(time)) if *time > export.known_until() => {
            bail!("{time} is beyond the export, which has what was recorded up to {}", export.known_until())
        }
        Some(At::Position(up_to)) => {
            let up_to = *up_to;
            Box::new(move |position, _| position <= up_to)
        }
        Some(At::Time(time)) => {
            let time = *time;
            Box::new(move |_, recorded_at| recorded_at <= time)
        }
    };
    let (mut first, mut last) = (None, None);
    export.each(|event| {
        first.get_or_insert((event.position, event.recorded_at));
        if is_up_to(event.position, event.recorded_at) {
            last = Some((event.position, event.recorded_at));
        }
        Ok(())
    })?;
    let Some((position, recorded_at)) = last else {
        let first = first.map(|(position, at)| format!("{position}, recorded at {at}")).unwrap_or_default();
        bail!("that is before the first event, which is at position {first}")
    };
    Ok(Cut { position, recorded_at, log_ended: whole.log_ended })
}

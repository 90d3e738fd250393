//! Which dead letters a command is about: named one by one, or all that are open with a code or of a key.

use operate::letters::{Selection, name};
use proto::SERVICES;
use serde_json::{Value, json};

/// Which letters, and how many of them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Letters {
    #[command(flatten)]
    which: Which,
    /// How many at most, the oldest first.
    #[arg(long, value_name = "COUNT", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
    /// Do nothing unless it is exactly so many: as many as a dry run has shown.
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = true)]
struct Which {
    /// These letters.
    #[arg(value_name = "LETTER", value_parser = name, num_args = 0..=1_000, conflicts_with_all = ["service", "code", "key"])]
    letters: Vec<(&'static str, i64)>,
    /// Open letters of this service.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(SERVICES))]
    service: Option<String>,
    /// Open letters with this code: why they could not be handled.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Open letters about this stream: product-MUG-01, order-UUID.
    #[arg(long, value_name = "STREAM")]
    key: Option<String>,
}

impl Letters {
    pub(crate) fn selection(&self) -> Selection {
        let Self { which: Which { letters, service, code, key }, limit, count } = self.clone();
        Selection { letters, service, code, key, limit, count }
    }

    /// The same, as the gateway is asked for it.
    pub(crate) fn asked(&self) -> Value {
        let Self { which: Which { letters, service, code, key }, limit, count } = self;
        let letters: Vec<String> = letters.iter().map(|(service, id)| format!("{service}-{id}")).collect();
        json!({ "letters": letters, "service": service, "code": code, "key": key, "limit": limit, "count": count })
    }
}

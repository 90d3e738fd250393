//! `-o`: how a command prints.

use clap::ValueEnum;

/// A way to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line.
    Jsonl,
    /// What each is called by, a line each.
    Name,
}

impl Output {
    /// What every command prints.
    pub const ALWAYS: &[Self] = &[Self::Table, Self::Json];
    /// What commands print that tell of many things.
    pub const LINES: &[Self] = &[Self::Table, Self::Json, Self::Jsonl];
    /// What commands print that find what others are told of.
    pub const ALL: &[Self] = &[Self::Table, Self::Json, Self::Jsonl, Self::Name];

    const fn word(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Json => "json",
            Self::Jsonl => "jsonl",
            Self::Name => "name",
        }
    }

    /// The way that is asked for, if the command knows it: `--json` is short for `-o json`.
    ///
    /// # Errors
    /// It does not, or two are asked for.
    pub fn asked(output: Option<Self>, json: bool, known: &[Self]) -> Result<Self, String> {
        let asked = match (output, json) {
            (Some(Self::Json) | None, true) => Self::Json,
            (Some(other), true) => {
                return Err(format!("--json is -o json, and -o {} is said too: say one of them", other.word()));
            }
            (output, false) => output.unwrap_or(Self::Table),
        };
        if known.contains(&asked) {
            return Ok(asked);
        }
        let known = known.iter().map(|known| known.word()).collect::<Vec<_>>().join(", ");
        Err(format!("this command has no -o {}: it knows {known}", asked.word()))
    }
}

#[cfg(test)]
mod tests {
    use super::Output;

    #[test]
    fn one_way_is_asked_for_and_the_command_knows_it() {
        let asked = |output, json| Output::asked(output, json, Output::ALWAYS);
        assert_eq!(asked(None, false), Ok(Output::Table));
        assert_eq!(asked(None, true), Ok(Output::Json));
        assert_eq!(asked(Some(Output::Json), true), Ok(Output::Json));
        assert_eq!(
            asked(Some(Output::Table), true).unwrap_err(),
            "--json is -o json, and -o table is said too: say one of them"
        );
        assert_eq!(asked(Some(Output::Name), false).unwrap_err(), "this command has no -o name: it knows table, json");
        assert_eq!(Output::asked(Some(Output::Name), false, Output::ALL), Ok(Output::Name));
    }
}

//! Messages that are good: a command of every type, and every event that was ever released.

use std::{fs, sync::LazyLock};

use holdfast_tests::repo_root;
use serde_json::Value;

/// A command of every type, as proto3 JSON.
pub(super) const COMMANDS: &[(&str, &str)] = proto::EXAMPLES;

/// Every event that was ever released, from the golden files: its type and its bytes.
pub(super) fn events() -> Vec<(String, Vec<u8>)> {
    let folder = fs::read_dir(repo_root().join("tests/golden/v1")).unwrap();
    let mut events: Vec<(String, Vec<u8>)> = folder
        .map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let message_type = name.split('+').next().unwrap().to_owned();
            let golden: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let bytes = proto::from_json(&message_type, golden["json"].to_string().as_bytes()).unwrap();
            (message_type, bytes)
        })
        .collect();
    events.sort();
    events
}

/// The samples of commands, as bytes.
pub(super) fn commands() -> impl Iterator<Item = (String, Vec<u8>)> {
    COMMANDS.iter().map(|(name, json)| ((*name).to_owned(), proto::from_json(name, json.as_bytes()).unwrap()))
}

/// Commands and events of payments and refunds, in each of which one value is as nobody should send it.
#[cfg(test)]
pub(super) fn hostile() -> impl Iterator<Item = (String, Vec<u8>)> {
    let all = commands().chain(events());
    let of_money = all.filter(|(name, _)| name.contains(".payments.") || name.contains("Refund"));
    of_money
        .flat_map(|(name, bytes)| crate::fields::hostile(&bytes).into_iter().map(move |bytes| (name.clone(), bytes)))
}

/// Every type of the contract, and some that are none.
pub(super) fn types() -> &'static [String] {
    static TYPES: LazyLock<Vec<String>> = LazyLock::new(|| {
        let none =
            ["", "PlaceOrder", "holdfast.orders.v1.", "holdfast.orders.v2.PlaceOrder", "google.protobuf.Timestamp"];
        proto::message_types().into_iter().chain(none.map(str::to_owned)).collect()
    });
    &TYPES
}

/// Words that mean something in a message.
pub(super) const TOKENS: &[&str] = &[
    "6f1d0c2e-8a51-4b7e-9d3a-2f4c5b6a7d81",
    "{6F1D0C2E-8A51-4B7E-9D3A-2F4C5B6A7D81}",
    "urn:uuid:6f1d0c2e8a514b7e9d3a2f4c5b6a7d81",
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "EUR",
    "USD",
    "eur",
    "XXX",
    "€",
    "MUG-01",
    "CUP",
    "sandbox:succeed",
    "\0",
    "\u{1b}[2J\r\n",
    "\u{feff}",
    "\u{202e}",
    "\u{1f980}",
    "e\u{301}",
];

#[cfg(test)]
mod tests {
    use super::{COMMANDS, events};

    #[test]
    fn there_is_a_sample_of_every_command() {
        use domain::Decider;
        let all = [
            orders::Orders::COMMANDS,
            inventory::Inventory::COMMANDS,
            rounds::Rounds::COMMANDS,
            <payments::Payments>::COMMANDS,
        ];
        let samples: Vec<&str> = COMMANDS.iter().map(|(message_type, _)| *message_type).collect();
        for message_type in all.concat() {
            assert!(samples.contains(&message_type), "{message_type}");
        }
        for (message_type, json) in COMMANDS {
            proto::from_json(message_type, json.as_bytes()).unwrap();
        }
        assert!(events().len() > 40);
    }
}

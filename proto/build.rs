//! Compiles the contract without protoc: types for prost, and descriptors for proto3 JSON.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

const FILES: [&str; 7] = [
    "holdfast/common/v1/common.proto",
    "holdfast/orders/v1/orders.proto",
    "holdfast/inventory/v1/inventory.proto",
    "holdfast/rounds/v1/rounds.proto",
    "holdfast/payments/v1/payments.proto",
    "holdfast/payments/v1/disputes.proto",
    "holdfast/payments/v1/wallets.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=holdfast");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, [root])?;
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    prost_build::Config::new().include_file("contract.rs").enable_type_names().compile_fds(descriptors)?;
    Ok(())
}

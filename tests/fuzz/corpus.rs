//! The corpus: inputs that are good to begin with, and those that once failed. Every test runs all of them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use holdfast_tests::repo_root;
use uuid::Uuid;

/// Where the inputs of a target are.
pub(crate) fn folder(target: &str) -> PathBuf {
    repo_root().join("tests/fuzz/corpus").join(target)
}

/// The inputs of a target, always in the same order.
pub(crate) fn read(target: &str) -> Vec<Vec<u8>> {
    let Ok(folder) = fs::read_dir(folder(target)) else { return Vec::new() };
    let mut files: Vec<PathBuf> = folder.map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// Keeps an input under a name that follows from what it is.
pub(crate) fn keep(folder: &Path, input: &[u8]) -> PathBuf {
    let name = Uuid::new_v5(&Uuid::NAMESPACE_OID, input).simple().to_string();
    let path = folder.join(&name[..16]);
    fs::create_dir_all(folder).unwrap();
    fs::write(&path, input).unwrap();
    path
}

//! The declarations are those of the headers: structs and constants as the C compiler has them, and the text that
//! generate.py makes of the headers.

mod table;

use std::path::{Path, PathBuf};
use std::process::Command;

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The lines that the C program prints.
fn measured_by_c() -> Vec<String> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let source = folder.join("layout.c");
    let program = folder.join("layout");
    std::fs::write(&source, table::PROGRAM).unwrap();
    let words = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut words = words.split_whitespace();
    let compiled = Command::new(words.next().unwrap())
        .args(words)
        .args(["-std=c11", "-I"])
        .arg(crate_folder().join("../../../include"))
        .arg(&source)
        .arg("-o")
        .arg(&program)
        .status()
        .unwrap();
    assert!(compiled.success(), "the C program does not compile");
    let printed = Command::new(&program).output().unwrap();
    String::from_utf8(printed.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn structs_and_constants_are_those_of_the_c_compiler() {
    let mut rust: Vec<String> =
        table::layouts().into_iter().map(|(name, a, b)| format!("{name} {a} {b}")).collect();
    rust.extend(table::numbers().into_iter().map(|(name, value)| format!("{name} {value}")));
    rust.extend(
        table::texts().into_iter().map(|(name, value)| format!("{name} {}", value.to_str().unwrap())),
    );
    let c = measured_by_c();
    assert!(rust.len() > 600, "only {} lines", rust.len());
    for (rust, c) in rust.iter().zip(&c) {
        assert_eq!(rust, c);
    }
    assert_eq!(rust.len(), c.len());
}

#[test]
fn declarations_are_what_the_headers_say() {
    let script = crate_folder().join("generate.py");
    let status = Command::new("python3").arg(script).arg("--check").status().expect("python3 is needed");
    assert!(status.success());
}

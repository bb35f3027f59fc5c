//! Builds libemr's C sources, as lib/meson.build does, or finds the library that is installed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-env-changed=EMR_SYSTEM");
    let root = source_root();
    println!("cargo:include={}", root.join("include").display());
    if has_feature("SYSTEM") || env::var("EMR_SYSTEM").is_ok_and(|value| value == "1") {
        find_installed();
    } else {
        build(&root);
    }
}

/// Where the C sources lie: this crate is a folder of their repository.
fn source_root() -> PathBuf {
    let crate_folder = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = crate_folder.join("../../..");
    assert!(
        root.join("lib/meson.build").is_file(),
        "the sources of libemr are not at {}: take the crate from its repository",
        root.display()
    );
    root.canonicalize().expect("it is there")
}

fn has_feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

fn target(what: &str) -> String {
    env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default()
}

/// Links libemr as it is installed. Before 1.0 the next minor version is another library.
fn find_installed() {
    let found = pkg_config::Config::new().range_version("0.2.0".."0.3.0").probe("libemr");
    if let Err(error) = found {
        panic!("libemr 0.2 is not installed (`meson install` does it).\n{error}");
    }
}

fn build(root: &Path) {
    let lib = root.join("lib");
    for watched in ["lib", "include"] {
        println!("cargo:rerun-if-changed={}", root.join(watched).display());
    }
    let is_x86 = target("ARCH") == "x86_64";
    let is_neon = target("ARCH") == "aarch64" && target("ENDIAN") == "little";

    let mut common = cc::Build::new();
    common
        .std("c11")
        .warnings(false)
        // As in a release build of meson's, also where Rust is not optimised: stacks are measured for that.
        .opt_level(3)
        .flag_if_supported("-ffp-contract=off")
        .flag_if_supported("-fno-fast-math")
        .flag_if_supported("-fvisibility=hidden")
        .include(root.join("include"))
        .include(&lib)
        .define("EMR_BUILDING", None);
    let xxhash = pkg_config::Config::new().atleast_version("0.8.0").cargo_metadata(false).probe("libxxhash");
    let xxhash = xxhash.unwrap_or_else(|error| {
        panic!("the header of xxHash is needed (Debian: libxxhash-dev).\n{error}");
    });
    common.includes(&xxhash.include_paths);
    if has_feature("ZSTD") {
        let zstd = pkg_config::probe_library("libzstd").unwrap_or_else(|error| {
            panic!(
                "libzstd is needed (Debian: libzstd-dev), or do without the feature `zstd`.
{error}"
            );
        });
        common.includes(&zstd.include_paths).define("EMR_WITH_ZSTD", None);
    }
    if is_x86 {
        common.define("EMR_WITH_AVX2", None).define("EMR_WITH_AVX512", None);
    }
    if is_neon {
        common.define("EMR_WITH_NEON", None);
    }

    let mut whole = common.clone();
    for source in listed_sources(&lib.join("meson.build")) {
        if !source.contains("_neon") || is_neon {
            whole.file(lib.join(source));
        }
    }
    // The kernels first: an archive is searched for what those before it left open.
    whole.compile("emr");
    if is_x86 {
        let avx2 = ["-mavx2", "-mf16c", "-mpopcnt"];
        let avx512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"];
        compile_kernels(&common, &lib, "avx2", &avx2);
        compile_kernels(&common, &lib, "avx512", &[&avx512[..], &avx2[..]].concat());
    }
    if target("FAMILY").contains("unix") {
        println!("cargo:rustc-link-lib=pthread");
    }
}

/// A variant of the kernels, which alone is compiled for its instructions; which one runs is chosen at run time.
fn compile_kernels(common: &cc::Build, lib: &Path, name: &str, flags: &[&str]) {
    let mut build = common.clone();
    build.flags(flags);
    build.file(lib.join(format!("numeric/kernels_{name}.c")));
    build.compile(&format!("emr_kernels_{name}"));
}

/// The sources that lib/meson.build lists by `files(...)`.
fn listed_sources(list: &Path) -> Vec<String> {
    let text = fs::read_to_string(list).expect("lib/meson.build can be read");
    let mut sources = Vec::new();
    for part in text.split("files(").skip(1) {
        let files = part.split(')').next().unwrap_or_default();
        sources.extend(files.split('\'').skip(1).step_by(2).map(str::to_owned));
    }
    assert!(!sources.is_empty(), "{} lists no sources", list.display());
    sources
}

//! What the tests start from.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Numbers in [-1, 1) that a seed gives.
pub fn numbers(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// A model of one matrix "w" and one vector "b".
pub fn model(name: &str, seed: u64) -> emr::Model<'static> {
    let mut builder = emr::Model::builder(name).unwrap();
    let (w, b) = (numbers(seed, ROWS * COLUMNS), numbers(seed + 1000, ROWS));
    builder.add_owned("w", emr::Dtype::F32, &SHAPE, emr::as_bytes(&w).to_vec()).unwrap();
    builder.add_owned("b", emr::Dtype::F32, &SHAPE[..1], emr::as_bytes(&b).to_vec()).unwrap();
    let mut model = builder.build();
    model.set_metadata("format", "pt").unwrap();
    model
}

pub const ROWS: usize = 96;
pub const COLUMNS: usize = 700;
pub const SHAPE: [u64; 2] = [ROWS as u64, COLUMNS as u64];

pub fn base() -> emr::Model<'static> {
    model("base", 1)
}

/// "french" and "german" on the base.
pub fn merge<'a>(base: &emr::Model<'a>, options: emr::MergeOptions<'a>) -> emr::Merge<'a> {
    let mut merge = emr::Merge::new(options).unwrap();
    merge.set_base(base).unwrap();
    merge.add_task("french", &model("fr", 2)).unwrap();
    merge.add_task("german", &model("de", 3)).unwrap();
    merge
}

/// The bytes of their bundle, with the base in it.
pub fn bundle_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = emr::MergeOptions { embed_base: true, ..Default::default() };
    merge(&base(), options).run(emr::Output::writer(&mut bytes)).unwrap();
    bytes
}

pub fn bundle() -> emr::Bundle<'static> {
    emr::Bundle::open_input(bundle_bytes(), Some("all")).unwrap()
}

pub fn is_same(a: &emr::Model<'_>, b: &emr::Model<'_>) -> bool {
    let facts = |model: &emr::Model<'_>| -> Vec<_> {
        let of =
            |t: emr::Tensor<'_>| (t.name().to_owned(), t.dtype(), t.shape().to_vec(), t.to_bytes().unwrap());
        model.iter().map(of).collect()
    };
    facts(a) == facts(b)
}

/// Computes tensors whose bytes are all the same.
pub fn fill(byte: u8) -> impl Fn(emr::Computation<'_>) -> Result<(), emr::BoxError> {
    move |asked| {
        asked.out.fill(byte);
        Ok(())
    }
}

/// A folder that goes when the test ends.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("emr-rust-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of what is in it, sorted.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn exists(path: &Path) -> bool {
    path.try_exists().unwrap()
}

//! What the steps of a case work on: named objects, values out of JSON, drawn numbers and digests.

use emr::{BlockType, Bundle, Dtype, Format, Model, Policy, Pool, Resources, Session};
use serde_json::{json, Map, Value};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// What a callback that is to fail fails with.
#[derive(Debug)]
pub struct OnPurpose;

impl fmt::Display for OnPurpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on purpose")
    }
}

impl std::error::Error for OnPurpose {}

/// A JSON object that knows which of its keys were asked for.
pub struct Object<'j> {
    map: &'j Map<String, Value>,
    used: RefCell<HashSet<&'j str>>,
}

impl<'j> Object<'j> {
    pub fn new(value: &'j Value) -> Self {
        let map = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
        Self { map, used: RefCell::default() }
    }

    pub fn get(&self, key: &str) -> Option<&'j Value> {
        let (key, value) = self.map.get_key_value(key)?;
        self.used.borrow_mut().insert(key);
        Some(value)
    }

    /// A key that nobody asked for is one that the runner does not know.
    pub fn check_keys(&self) {
        for key in self.map.keys() {
            assert!(self.used.borrow().contains(key.as_str()), "unknown key '{key}' of {:?}", self.map);
        }
    }

    pub fn object(&self, key: &str) -> Option<&'j Map<String, Value>> {
        self.get(key).map(|value| value.as_object().expect("an object"))
    }

    pub fn optional_text(&self, key: &str) -> Option<&'j str> {
        self.get(key).map(text_of)
    }

    pub fn text(&self, key: &str) -> &'j str {
        self.optional_text(key).unwrap_or_else(|| panic!("absent: '{key}'"))
    }

    pub fn optional_array(&self, key: &str) -> &'j [Value] {
        self.get(key).map_or(&[], |value| value.as_array().expect("an array"))
    }

    pub fn array(&self, key: &str) -> &'j [Value] {
        assert!(self.map.contains_key(key), "absent: '{key}'");
        self.optional_array(key)
    }

    pub fn texts(&self, key: &str) -> Vec<&'j str> {
        self.optional_array(key).iter().map(text_of).collect()
    }

    pub fn number(&self, key: &str) -> u64 {
        self.get(key).map_or(0, |value| value.as_u64().expect("a whole number"))
    }

    pub fn count(&self, key: &str) -> u32 {
        u32::try_from(self.number(key)).expect("a number of 32 bits")
    }

    pub fn flag(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.as_bool().expect("true or false"))
    }

    pub fn dtype(&self, key: &str) -> Option<Dtype> {
        self.optional_text(key).map(dtype_of)
    }

    /// Which of these words, else the default.
    pub fn word<T: Copy + Default>(&self, key: &str, words: &[(&str, T)]) -> T {
        self.optional_text(key).map_or_else(T::default, |word| word_of(word, words))
    }

    pub fn policy(&self) -> Policy {
        use emr::{OnMismatch, OnMissing};
        let Some(value) = self.get("policy") else { return Policy::default() };
        let policy = Object::new(value);
        let globs = |key| policy.texts(key).into_iter().map(str::to_owned).collect();
        let mismatch = [
            ("error", OnMismatch::Error),
            ("private", OnMismatch::Private),
            ("rows", OnMismatch::Rows),
            ("pad", OnMismatch::Pad),
        ];
        let missing = [("error", OnMissing::Error), ("base", OnMissing::Base), ("absent", OnMissing::Absent)];
        let read = Policy {
            private: globs("private_globs"),
            merge: globs("merge_globs"),
            absent: globs("absent_globs"),
            base: globs("base_globs"),
            on_mismatch: policy.word("on_mismatch", &mismatch),
            on_missing: policy.word("on_missing", &missing),
        };
        policy.check_keys();
        read
    }

    /// Pairs of names and models.
    pub fn tasks<'w>(&self, world: &'w World) -> Vec<(&'j str, &'w Model<'static>)> {
        self.array("tasks").iter().map(|task| (text_of(&task[0]), world.model(text_of(&task[1])))).collect()
    }
}

pub fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

pub fn dtype_of(name: &str) -> Dtype {
    Dtype::from_name(name).unwrap_or_else(|| panic!("no dtype: '{name}'"))
}

pub fn word_of<T: Copy>(word: &str, words: &[(&str, T)]) -> T {
    words.iter().find(|known| known.0 == word).unwrap_or_else(|| panic!("unknown word '{word}'")).1
}

pub const BLOCKS: [(&str, BlockType); 5] = [
    ("q4_0", BlockType::Q4_0),
    ("q4_1", BlockType::Q4_1),
    ("q5_0", BlockType::Q5_0),
    ("q5_1", BlockType::Q5_1),
    ("q8_0", BlockType::Q8_0),
];

/// A number, or "nan", "inf", "-inf".
pub fn real_of(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| text_of(value).parse().expect("a number"))
}

pub fn real(value: f64) -> Value {
    match value {
        value if value.is_nan() => json!("nan"),
        f64::INFINITY => json!("inf"),
        f64::NEG_INFINITY => json!("-inf"),
        value => json!(value),
    }
}

pub fn reals(values: &[f64]) -> Value {
    values.iter().map(|value| real(*value)).collect()
}

/// FNV-1a of 64 bits.
#[derive(Clone, Copy)]
pub struct Digest(u64);

impl Digest {
    pub const NONE: Self = Self(0xcbf29ce484222325);

    pub fn add(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x100000001b3));
    }

    pub fn of(bytes: &[u8]) -> Self {
        let mut digest = Self::NONE;
        digest.add(bytes);
        digest
    }

    pub fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

pub fn digest_of(bytes: &[u8]) -> String {
    Digest::of(bytes).text()
}

pub fn digest_of_floats(values: &[f32]) -> String {
    digest_of(emr::as_bytes(values))
}

/// Draw i of a seed.
pub fn draw(seed: u64, i: u64) -> u64 {
    let mut z = ((seed << 32).wrapping_add(i + 1)).wrapping_mul(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D049BB133111EB);
    z ^ (z >> 31)
}

pub fn bytes_of(format: Format, count: u64) -> usize {
    match format {
        Format::Dtype(dtype) => (count * u64::from(dtype.bits()) / 8) as usize,
        Format::Blocks(blocks) => count as usize / emr::BLOCK_VALUES * blocks.bytes(),
    }
}

/// The bytes of drawn elements, from number `first` on.
pub fn drawn_from(dtype: Dtype, seed: u64, first: u64, count: u64) -> Vec<u8> {
    if matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64) {
        let draws = (first..first + count).map(|i| ((draw(seed, i) >> 56) as f32 - 128.0) / 128.0);
        let mut out = vec![0; bytes_of(dtype.into(), count)];
        let values: Vec<f32> = draws.collect();
        emr::convert(dtype, &mut out, Dtype::F32, emr::as_bytes(&values)).expect("floats");
        return out;
    }
    let bits = dtype.bits();
    let (width, n) = if bits < 8 { (1, bytes_of(dtype.into(), count) as u64) } else { (bits / 8, count) };
    let mask = match dtype {
        Dtype::Bool => 1,
        dtype if dtype.is_float() => 0xBF,
        _ => u64::MAX,
    };
    let draws = (first..first + n).map(|i| draw(seed, i) & mask);
    draws.flat_map(|draw| draw.to_le_bytes().into_iter().take(width as usize)).collect()
}

pub fn drawn(dtype: Dtype, seed: u64, count: u64) -> Vec<u8> {
    drawn_from(dtype, seed, 0, count)
}

pub fn drawn_floats(seed: u64, count: u64) -> Vec<f32> {
    (0..count).map(|i| ((draw(seed, i) >> 56) as f32 - 128.0) / 128.0).collect()
}

/// The objects of a case.
pub struct World {
    // Sessions go first, in no order that matters.
    pub sessions: HashMap<String, (Session<'static>, Bundle<'static>)>,
    pub bundles: HashMap<String, Bundle<'static>>,
    pub models: HashMap<String, Model<'static>>,
    pub files: HashMap<String, Vec<u8>>,
    /// Bytes of tensors, by model and tensor, to be pushed.
    pub pushed: HashMap<(String, String), Vec<u8>>,
    pool: Option<Pool>,
    folder: Option<PathBuf>,
}

impl World {
    pub fn new(pool: Option<Pool>) -> Self {
        Self {
            sessions: HashMap::new(),
            bundles: HashMap::new(),
            models: HashMap::new(),
            files: HashMap::new(),
            pushed: HashMap::new(),
            pool,
            folder: None,
        }
    }

    /// One thread, or the pool's three.
    pub fn resources(&self) -> Resources<'static> {
        match &self.pool {
            Some(pool) => Resources::new().pool(pool),
            None => Resources::new().threads(1),
        }
    }

    pub fn model(&self, name: &str) -> &Model<'static> {
        self.models.get(name).unwrap_or_else(|| panic!("no such model: '{name}'"))
    }

    pub fn optional_model(&self, step: &Object<'_>, key: &str) -> Option<&Model<'static>> {
        step.optional_text(key).map(|name| self.model(name))
    }

    pub fn bundle(&self, name: &str) -> &Bundle<'static> {
        self.bundles.get(name).unwrap_or_else(|| panic!("no such bundle: '{name}'"))
    }

    pub fn file(&self, name: &str) -> Vec<u8> {
        self.files.get(name).unwrap_or_else(|| panic!("no such file: '{name}'")).clone()
    }

    pub fn keep_model(&mut self, step: &Object<'_>, model: Model<'static>) {
        assert!(self.models.insert(step.text("model").to_owned(), model).is_none(), "the name is taken");
    }

    pub fn open_bundle(&mut self, name: &str, file: Vec<u8>) -> emr::Result<()> {
        self.files.insert(name.to_owned(), file.clone());
        let bundle = Bundle::open_input(file, Some(name))?;
        self.bundles.insert(name.to_owned(), bundle);
        Ok(())
    }

    /// A path in a folder of the case's own.
    pub fn path(&mut self, name: &str) -> PathBuf {
        static FOLDERS: AtomicU32 = AtomicU32::new(0);
        let folder = self.folder.get_or_insert_with(|| {
            let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
            let folder =
                std::env::temp_dir().join(format!("emr-conformance-{}-{number}", std::process::id()));
            std::fs::create_dir(&folder).expect("a new folder");
            folder
        });
        folder.join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.as_deref().expect("there is one")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            std::fs::remove_dir_all(folder).expect("it can be removed");
        }
    }
}

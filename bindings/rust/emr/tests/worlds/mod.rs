// Small models for tests, and for the examples of the documentation, which include this file.

use emr::{Bundle, Dtype, Merge, MergeOptions, Model, ModulatorKind, Result};

/// A number in [-1, 1) of a sequence that `seed` begins.
pub fn draw(seed: &mut u32) -> f32 {
    *seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
    (*seed >> 8) as f32 / 8388608.0 - 1.0
}

pub fn draws(seed: u32, n: usize) -> Vec<f32> {
    let mut seed = seed;
    (0..n).map(|_| draw(&mut seed)).collect()
}

/// A model that has its memory itself.
pub fn model(name: &str, tensors: &[(&str, &[u64], Vec<f32>)]) -> Result<Model<'static>> {
    let mut builder = Model::builder(name)?;
    for (tensor, shape, values) in tensors {
        builder.add_owned(tensor, Dtype::F32, shape, emr::as_bytes(values).to_vec())?;
    }
    Ok(builder.build())
}

pub const TENSORS: [(&str, &[u64]); 3] =
    [("layer.weight", &[2, 3]), ("layer.bias", &[2]), ("model.layers.0.mlp.up_proj.weight", &[40, 1000])];

/// The number of elements of a shape.
pub fn count(shape: &[u64]) -> usize {
    shape.iter().product::<u64>() as usize
}

/// A base.
pub fn base() -> Result<Model<'static>> {
    model("base", &TENSORS.map(|(name, shape)| (name, shape, draws(1, count(shape)))))
}

/// A task that was fine-tuned from it.
pub fn task(name: &str, seed: u32) -> Result<Model<'static>> {
    let tuned = |shape: &[u64]| {
        let (base, change) = (draws(1, count(shape)), draws(seed, count(shape)));
        base.iter().zip(change).map(|(base, change)| base + change / 16.0).collect()
    };
    model(name, &TENSORS.map(|(name, shape)| (name, shape, tuned(shape))))
}

/// A base and two tasks.
pub fn models() -> Result<(Model<'static>, [Model<'static>; 2])> {
    Ok((base()?, [task("math", 2)?, task("code", 3)?]))
}

/// Two tasks with a body of the same shape, and heads of 2 and 3 labels.
pub fn classifiers() -> Result<[Model<'static>; 2]> {
    let classifier = |name: &str, n: u64, seed: u32| {
        let tensors: [(&str, &[u64]); 3] =
            [("body.weight", &[4, 4]), ("classifier.weight", &[n, 4]), ("classifier.bias", &[n])];
        model(name, &tensors.map(|(tensor, shape)| (tensor, shape, draws(seed, count(shape)))))
    };
    Ok([classifier("parity", 2, 4)?, classifier("sign", 3, 5)?])
}

/// The base, and a bundle of the tasks `french`, of masks, and `german`, of signs.
pub fn bundle() -> Result<(Model<'static>, Bundle<'static>)> {
    let base = base()?;
    let mut merge = Merge::new(MergeOptions::default())?;
    merge.set_base(&base)?;
    merge.add_task("french", &task("french", 2)?)?;
    let german = merge.add_task("german", &task("german", 3)?)?;
    merge.set_modulation(german, ModulatorKind::Sign)?;
    let (bytes, _) = merge.run_in_memory()?;
    Ok((base, Bundle::open_input(bytes, Some("all.emr"))?))
}

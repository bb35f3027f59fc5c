//! Steps about bundles: opened, looked at, checked, made smaller; the models and modulators in them.

use crate::merges::KINDS;
use crate::world::{
    bytes_of, digest_of, digest_of_floats, drawn, drawn_floats, real, word_of, Object, World,
};
use emr::{
    Application, BaseCheck, Bundle, Codes, Dtype, Modulation, Modulator, ModulatorKind, Output, Product,
    Result, Task, ViewOptions,
};
use serde_json::{json, Map, Value};

pub fn run(world: &mut World, name: &str, step: &Object<'_>) -> Option<Result<Value>> {
    Some(match name {
        "bundle" => open(world, step),
        "load_bundle" => load(world, step),
        "look" => look(world.bundle(step.text("bundle"))),
        "drop" | "extract" => select(world, step, name == "drop"),
        "verify" => world.bundle(step.text("bundle")).verify(world.resources()).map(|()| Value::Null),
        "check_base" => check_base(world, step),
        "task" => open_task(world, step),
        "view" => open_view(world, step),
        "modulator" => use_modulator(world, step),
        "own_modulator" => use_own_modulator(step),
        _ => return None,
    })
}

pub const CHECKS: [(&str, BaseCheck); 3] =
    [("first", BaseCheck::First), ("write", BaseCheck::Write), ("none", BaseCheck::Never)];

fn open(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let (name, file) = (step.text("bundle"), world.file(step.text("file")));
    world.open_bundle(name, file).map(|()| Value::Null)
}

fn load(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let path = world.path(step.text("path"));
    let bundle = if step.flag("map") { Bundle::map(&path)? } else { Bundle::open(&path)? };
    world.bundles.insert(step.text("bundle").to_owned(), bundle);
    Ok(json!({"digest": digest_of(&std::fs::read(path).expect("it is there"))}))
}

fn object_of(metadata: Vec<(&str, &str)>) -> Value {
    metadata.into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect::<Map<_, _>>().into()
}

fn numbers_of(spec: &Modulation) -> Value {
    json!([
        spec.kind as u32,
        spec.thinning,
        spec.n_levels,
        spec.rescale as u32,
        spec.rescale_per as u32,
        spec.mask_rule as u32,
        spec.vectors_dtype.map_or(0, |dtype| dtype as u32),
        u32::from(spec.without_columns),
        spec.seed
    ])
}

fn look_at_task(task: &Task<'_>) -> Result<Value> {
    let info = task.info()?;
    let private = task.private_tensors()?;
    let private: Vec<_> = private.iter().map(|of| json!([of.name, of.dtype.name(), of.shape])).collect();
    let (spec, _) = task.modulation()?;
    let rescaler = real(info.rescaler.into());
    Ok(json!([info.name, info.mask_ones, rescaler, numbers_of(&spec), private, object_of(task.metadata())]))
}

fn look(bundle: &Bundle<'_>) -> Result<Value> {
    let info = bundle.info()?;
    let tasks = bundle.tasks().map(|task| look_at_task(&task)).collect::<Result<Vec<_>>>()?;
    let tensors = (0..info.n_tensors).map(|i| {
        let of = bundle.tensor(i)?;
        Ok(json!([of.name, of.dtype.name(), of.shape, u32::from(of.merged)]))
    });
    Ok(json!({
        "info": {
            "n_tasks": info.n_tasks,
            "n_tensors": info.n_tensors,
            "n_merged": info.n_merged,
            "merged_params": info.merged_params,
            "rescale": info.rescale as u32,
            "rescale_per": info.rescale_per as u32,
            "tie": info.tie as u32,
            "unified_dtype": info.unified_dtype.map_or("?", Dtype::name),
            "has_base": u32::from(info.has_base),
            "extendable": u32::from(info.extendable),
            "n_elected": info.n_elected,
        },
        "tasks": tasks,
        "tensors": tensors.collect::<Result<Vec<_>>>()?,
        "metadata": object_of(bundle.base_metadata()),
    }))
}

fn select(world: &mut World, step: &Object<'_>, drops: bool) -> Result<Value> {
    let (of, names) = (world.bundle(step.text("of")), step.texts("tasks"));
    let mut bytes = Vec::new();
    let (output, resources) = (Output::writer(&mut bytes), world.resources());
    let report = match drops {
        true => of.drop_tasks_reported(&names, output, resources)?,
        false => of.extract_tasks_reported(&names, output, resources)?,
    };
    let result = json!({
        "unified": report.unified,
        "alone": report.alone,
        "shared": report.shared,
        "lost_growth": u32::from(report.lost_growth),
        "lost_unified": u32::from(report.lost_unified),
        "digest": digest_of(&bytes),
    });
    world.open_bundle(step.text("bundle"), bytes)?;
    Ok(result)
}

fn check_base(world: &World, step: &Object<'_>) -> Result<Value> {
    let (bundle, base) = (world.bundle(step.text("bundle")), world.model(step.text("base")));
    if !step.flag("all") {
        return bundle.check_base(base, world.resources()).map(|()| Value::Null);
    }
    let differs = bundle.base_differences(base, world.resources())?;
    Ok(json!({"differs": differs.iter().map(|one| json!([one.tensor, one.why])).collect::<Vec<_>>()}))
}

fn open_task(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let options = ViewOptions {
        resources: world.resources(),
        dtype: step.dtype("dtype"),
        check: step.word("check", &CHECKS),
        f32_vectors: step.flag("f32_vectors"),
    };
    let task = world.bundle(step.text("bundle")).task(step.text("task"))?;
    let model = task.open_with(world.optional_model(step, "base"), options)?;
    world.keep_model(step, model);
    Ok(Value::Null)
}

fn open_view(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let bundle = world.bundle(step.text("bundle"));
    let model = match step.text("of") {
        "base" => bundle.base()?,
        "unified" => bundle.unified()?,
        "mask" => bundle.task(step.text("task"))?.mask()?,
        other => panic!("unknown word '{other}'"),
    };
    world.keep_model(step, model);
    Ok(Value::Null)
}

fn use_modulator(world: &World, step: &Object<'_>) -> Result<Value> {
    let mut modulator = world.bundle(step.text("bundle")).task(step.text("task"))?.modulator()?;
    let base = world.model(step.text("base"));
    let mut tensors = Vec::new();
    for i in 0..modulator.len() as u32 {
        let name = modulator.tensor_name(i).expect("it has it").to_owned();
        let n = modulator.n_rescalers(i);
        let mut rescalers = vec![0f32; n as usize];
        modulator.read_rescalers(i, 0, &mut rescalers)?;
        let ones = modulator.stats(i)?.ones;
        let tensor = base.get(&name).expect("the base has it");
        let dtype = step.dtype("dtype").unwrap_or(tensor.dtype());
        let mut out = vec![0; bytes_of(dtype.into(), modulator.tensor_count(i))];
        modulator.apply(Application {
            tensor: i,
            first: 0,
            base: Some((tensor.dtype(), &tensor.to_bytes()?)),
            out: (dtype, &mut out),
        })?;
        tensors.push(json!([name, n, digest_of_floats(&rescalers), ones, digest_of(&out)]));
    }
    Ok(json!({ "tensors": tensors }))
}

fn use_own_modulator(step: &Object<'_>) -> Result<Value> {
    let kind = word_of(step.text("kind"), &KINDS);
    let (count, rows, seed) = (step.number("count"), step.number("rows"), step.number("seed"));
    let dtype = step.dtype("dtype").unwrap_or(Dtype::F32);
    let columns = count / rows;
    let n_scales = if kind == ModulatorKind::TwoSided { 2 * rows } else { rows };
    let has_unified = matches!(kind, ModulatorKind::Default | ModulatorKind::Mask | ModulatorKind::TwoSided);
    let unified = drawn(Dtype::F32, seed, count);
    let scales: Vec<f32> = drawn_floats(seed + 2, n_scales).iter().map(|scale| scale.abs()).collect();
    let of_columns = step.flag("columns").then(|| drawn(Dtype::BF16, seed + 3, columns));
    let (codes, base) = (drawn(Dtype::U8, seed + 1, count), drawn(dtype, seed + 4, count));
    let x = drawn_floats(seed + 5, 2 * columns);
    let (mut out, mut y) = (vec![0; base.len()], vec![0f32; 2 * rows as usize]);

    let mut modulator = Modulator::new()?;
    let own = Codes {
        kind,
        unified: has_unified.then_some((Dtype::F32, &unified[..])),
        mask: &codes,
        rescalers: &scales,
        columns: of_columns.as_deref(),
        count,
        thinning: if kind == ModulatorKind::Thin { 4 } else { 0 },
        n_levels: if kind == ModulatorKind::Levels { 16 } else { 0 },
        seed: if kind == ModulatorKind::Thin { 7 } else { 0 },
    };
    modulator.add("w", own)?;
    let tensor = modulator.find("w").expect("it was added");
    modulator.apply(Application { tensor, first: 0, base: Some((dtype, &base)), out: (dtype, &mut out) })?;
    let product = Product::new("w", &x, &mut y).columns(columns).rows(0..rows);
    Modulator::multiply(&mut [&mut modulator], &[0, 0], product, Some((dtype, &base)))?;
    Ok(json!({"apply": digest_of(&out), "multiply": digest_of_floats(&y)}))
}

//! Merging: into a bundle, a file or a sink, by pull or push, into nothing or into a bundle that is there.

use crate::world::{digest_of, real, text_of, Digest, Object, World};
use emr::{
    Action, Compression, Join, MaskRule, Merge, MergeOptions, MergeReport, Modulation, ModulatorKind,
    OnNonfinite, Output, Rescale, RescalePer, Result, Sink, SinkPart, Tie,
};
use serde_json::{json, Value};
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

pub fn run(world: &mut World, name: &str, step: &Object<'_>) -> Option<Result<Value>> {
    match name {
        "merge" => Some(merge(world, step)),
        "join" => Some(join(world, step)),
        _ => None,
    }
}

pub const KINDS: [(&str, ModulatorKind); 6] = [
    ("default", ModulatorKind::Default),
    ("mask", ModulatorKind::Mask),
    ("two_sided", ModulatorKind::TwoSided),
    ("sign", ModulatorKind::Sign),
    ("thin", ModulatorKind::Thin),
    ("levels", ModulatorKind::Levels),
];
const RESCALES: [(&str, Rescale); 7] = [
    ("default", Rescale::Default),
    ("l1", Rescale::L1),
    ("l1_means", Rescale::L1Means),
    ("l2", Rescale::L2),
    ("norm", Rescale::Norm),
    ("unbiased", Rescale::Unbiased),
    ("mixed", Rescale::Mixed),
];
const RESCALES_PER: [(&str, RescalePer); 4] = [
    ("default", RescalePer::Default),
    ("model", RescalePer::Model),
    ("tensor", RescalePer::Tensor),
    ("row", RescalePer::Row),
];
pub const NONFINITE: [(&str, OnNonfinite); 2] = [("error", OnNonfinite::Error), ("zero", OnNonfinite::Zero)];

fn modulation_of(value: &Value) -> Modulation {
    let of = Object::new(value);
    let modulation = Modulation {
        kind: of.word("kind", &KINDS),
        thinning: of.count("thinning"),
        n_levels: of.count("n_levels"),
        rescale: of.word("rescale", &RESCALES),
        rescale_per: of.word("rescale_per", &RESCALES_PER),
        mask_rule: of.word("mask_rule", &[("agree", MaskRule::Agree), ("nearest", MaskRule::Nearest)]),
        vectors_dtype: of.dtype("vectors_dtype"),
        without_columns: of.flag("without_columns"),
        seed: of.count("seed"),
    };
    of.check_keys();
    modulation
}

fn options_of(world: &World, step: &Object<'_>) -> (MergeOptions<'static>, bool) {
    let nothing = json!({});
    let of = Object::new(step.get("options").unwrap_or(&nothing));
    let compression = of.get("compression").map(|level| level.as_i64().expect("a level"));
    let options = MergeOptions {
        resources: world.resources().memory(step.number("memory")),
        policy: step.policy(),
        modulation: of.get("modulation").map(modulation_of).unwrap_or_default(),
        rescale: of.word("rescale", &RESCALES),
        rescale_per: of.word("rescale_per", &RESCALES_PER),
        tie: of.word("tie", &[("zero", Tie::Zero), ("negative", Tie::Negative)]),
        on_nonfinite: of.word("on_nonfinite", &NONFINITE),
        unified_dtype: of.dtype("unified_dtype"),
        embed_base: of.flag("embed_base"),
        extendable: of.flag("extendable"),
        compression: match compression {
            None => Compression::None,
            Some(0) => Compression::Default,
            Some(level) => Compression::Level(level as u8),
        },
        block_params: of.count("block_params"),
        measure: of.flag("measure"),
    };
    of.check_keys();
    (options, compression.is_none())
}

fn set_up(world: &World, step: &Object<'_>) -> Result<(Merge<'static>, bool)> {
    let (options, is_raw) = options_of(world, step);
    let mut merge = Merge::new(options)?;
    merge.set_base(world.model(step.text("base")))?;
    if let Some(bundle) = step.optional_text("extend") {
        merge.extend(world.bundle(bundle))?;
    }
    let modulations = step.object("modulations");
    let numbers = step.tasks(world).into_iter().map(|(name, model)| Ok((name, merge.add_task(name, model)?)));
    let numbers = numbers.collect::<Result<HashMap<_, _>>>()?;
    for (task, value) in modulations.into_iter().flatten() {
        merge.set_modulation(numbers[task.as_str()], modulation_of(value))?;
    }
    Ok((merge, is_raw))
}

fn merge(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let (mut merge, is_raw) = set_up(world, step)?;
    if let Some(part) = step.get("part") {
        let number = |i: usize| part[i].as_u64().expect("a number") as u32;
        merge.set_part(number(0), number(1))?;
        if let Some(name) = step.optional_text("check") {
            merge.check_part(&world.files[name][..], Some(name))?;
        }
        let bytes = Shared::default();
        let report = merge.run(Output::writer(bytes.clone()))?;
        let bytes = std::mem::take(&mut *bytes.0.lock().unwrap());
        world.files.insert(step.text("file").to_owned(), bytes);
        return Ok(told(&report, json!({})));
    }
    if step.flag("sink") {
        let mut parts = Parts::default();
        let report = merge.run_into(&mut parts)?;
        return Ok(told(&report, json!({"sink": parts.told()})));
    }
    if let Some(name) = step.optional_text("path") {
        let path = world.path(name);
        let report = match step.number("journal") {
            0 => merge.run(Output::file(path).replace(step.flag("replace")))?,
            interval => merge.run_resumable(path, false, interval)?,
        };
        return Ok(told(&report, json!({})));
    }
    let bytes = Shared::default();
    let report = match step.number("push") {
        0 => merge.run(Output::writer(bytes.clone()))?,
        most => push_all(world, step, merge, bytes.clone(), most as usize)?,
    };
    let bytes = std::mem::take(&mut *bytes.0.lock().unwrap());
    let digest = if is_raw { digest_of(&bytes) } else { String::new() };
    world.open_bundle(step.text("bundle"), bytes)?;
    Ok(told(&report, json!({ "digest": digest })))
}

fn join(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let mut join = Join::new(world.resources())?;
    for name in step.array("parts") {
        join.add_part(world.file(text_of(name)), Some(text_of(name)))?;
    }
    let mut bytes = Vec::new();
    join.run(Output::writer(&mut bytes))?;
    let digest = digest_of(&bytes);
    world.open_bundle(step.text("bundle"), bytes)?;
    Ok(json!({ "digest": digest }))
}

fn told(report: &MergeReport, mut result: Value) -> Value {
    let tensors = report.tensors.iter().map(|tensor| {
        let action = match tensor.action {
            Action::Merge => "merge",
            Action::Keep => "keep",
            Action::Private => "private",
            other => panic!("unknown action {other:?}"),
        };
        json!([tensor.name, action, tensor.reason, tensor.n_private, tensor.zeroed])
    });
    result["tensors"] = tensors.collect();
    let float = |value: f32| real(f64::from(value));
    let tasks = report.tasks.iter().map(|task| {
        json!([
            task.name,
            task.mask_ones,
            task.zeroed,
            float(task.rescaler),
            float(task.other_rescaler),
            u32::from(task.empty_mask),
            float(task.fidelity.error),
            float(task.fidelity.cosine),
            float(task.fidelity.coefficient)
        ])
    });
    result["tasks"] = tasks.collect();
    result
}

/// Bytes that are still there when the merge that wrote them is gone.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Asks sources in turn, base first, and gives each up to so many bytes of the tensor that it wants.
fn push_all(
    world: &World,
    step: &Object<'_>,
    merge: Merge<'static>,
    out: Shared,
    most: usize,
) -> Result<MergeReport> {
    let tasks = step.array("tasks").iter().enumerate().map(|(i, task)| (i as u32, text_of(&task[1])));
    let mut sources: Vec<_> =
        [(emr::BASE, step.text("base"))].into_iter().chain(tasks).map(|(i, model)| (i, model, 0)).collect();
    let mut push = merge.begin(Output::writer(out))?;
    loop {
        let mut done = 0;
        for (source, model, at) in &mut sources {
            let expected = push.expected(*source)?;
            let Some(tensor) = expected.tensor else {
                done += 1;
                continue;
            };
            if expected.bytes > 0 {
                let bytes = &world.pushed[&((*model).to_owned(), tensor.name().to_owned())];
                let end = bytes.len().min(*at + most);
                *at += push.push(*source, &bytes[*at..end])?;
                *at = if *at == bytes.len() { 0 } else { *at };
            }
        }
        if done == sources.len() {
            return push.finish();
        }
    }
}

/// What a sink got, by tensor, task and kind.
#[derive(Default)]
struct Parts(BTreeMap<(u32, i64, &'static str), Digest>);

impl Parts {
    fn add(&mut self, part: SinkPart, task: i64, kind: &'static str, bytes: &[u8]) {
        self.0.entry((part.tensor, task, kind)).or_insert(Digest::NONE).add(bytes);
    }

    fn told(&self) -> Value {
        self.0
            .iter()
            .map(|((tensor, task, kind), digest)| json!([tensor, task, kind, digest.text()]))
            .collect()
    }
}

impl Sink for Parts {
    fn unified(&mut self, part: SinkPart, values: &[u8]) -> std::result::Result<(), emr::BoxError> {
        self.add(part, -1, "unified", values);
        Ok(())
    }
    fn mask(&mut self, task: u32, part: SinkPart, bits: &[u8]) -> std::result::Result<(), emr::BoxError> {
        self.add(part, task.into(), "mask", bits);
        Ok(())
    }
    fn rescalers(
        &mut self,
        task: u32,
        part: SinkPart,
        rescalers: &[f32],
    ) -> std::result::Result<(), emr::BoxError> {
        self.add(part, task.into(), "rescalers", emr::as_bytes(rescalers));
        Ok(())
    }
}

//! One model out of many: combinations, statistics, searches, heads.

use crate::merges::NONFINITE;
use crate::world::{real, real_of, reals, text_of, word_of, Object, World};
use emr::{
    Candidate, Combination, CombinationNonfinite, CombinationOptions, CombinedAction, HeadGroup, HeadKind,
    Heads, KinshipMetric, KinshipOptions, Method, MethodBase, Partner, PartnerPool, Result, Search,
    SearchHost, SearchOptions, Statistics, StatisticsGroup, StatisticsOptions, StatisticsRounding,
    StatisticsScope, TrialsOptions,
};
use serde_json::{json, Map, Value};

pub fn run(world: &mut World, name: &str, step: &Object<'_>) -> Option<Result<Value>> {
    Some(match name {
        "combine" => combine(world, step),
        "methods" => Ok(tell_methods()),
        "statistics" => measure(world, step),
        "search" => search(step),
        "trials" => trials(step),
        "heads" => heads(world, step),
        "softmax" => soften(step),
        _ => return None,
    })
}

fn combine(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let nonfinite = [("error", CombinationNonfinite::Error), ("zero", CombinationNonfinite::Zero)];
    let options = CombinationOptions {
        resources: world.resources().memory(step.number("memory")),
        policy: step.policy(),
        head_globs: step.texts("heads").into_iter().map(str::to_owned).collect(),
        combine_heads: step.flag("combine_heads"),
        seed: step.number("seed"),
        dtype: step.dtype("dtype"),
        on_nonfinite: step.word("on_nonfinite", &nonfinite),
    };
    let method = Method::find(step.text("method")).expect("there is such a method");
    let mut combination = Combination::new(&method, options)?;
    if let Some(base) = world.optional_model(step, "base") {
        combination.set_base(base)?;
    }
    let tasks = step.tasks(world);
    for (name, model) in &tasks {
        combination.add_task(name, model)?;
    }
    for parameter in step.optional_array("parameters") {
        let glob = parameter.get(3).map(text_of);
        let task = match parameter.get(2).and_then(Value::as_str) {
            None => emr::EVERY_TASK,
            Some("") => emr::BASE,
            Some(name) => tasks.iter().position(|task| task.0 == name).unwrap_or(tasks.len()) as u32,
        };
        combination.set_parameter_of(text_of(&parameter[0]), task, glob, real_of(&parameter[1]))?;
    }
    combination.plan()?;
    let tensors = combination.tensors().map(|tensor| {
        let action = match tensor.action {
            CombinedAction::Combine => "combine",
            CombinedAction::Copy => "copy",
            CombinedAction::Head => "head",
            other => panic!("unknown action {other:?}"),
        };
        json!([tensor.name, action, tensor.reason, tensor.n_reads, tensor.n_inputs])
    });
    let result = json!({"tensors": tensors.collect::<Vec<_>>()});
    let model = combination.open_model()?;
    world.keep_model(step, model);
    Ok(result)
}

fn tell_methods() -> Value {
    let methods = Method::all().map(|method| {
        let info = method.info();
        let base = match info.base {
            MethodBase::Input => "input",
            MethodBase::Required => "required",
            MethodBase::Optional => "optional",
            MethodBase::Beside => "beside",
            other => panic!("unknown base {other:?}"),
        };
        let parameters = info.parameters.iter().map(|of| {
            let (least, most) = (real(*of.range.start()), real(*of.range.end()));
            let initial = real(of.initial.unwrap_or(f64::NAN));
            json!([of.name, initial, least, most, u32::from(of.per_task), u32::from(of.is_whole)])
        });
        json!([info.name, base, parameters.collect::<Vec<_>>()])
    });
    json!({"methods": methods.collect::<Vec<_>>()})
}

fn told(group: &StatisticsGroup<'_>) -> Value {
    let quantiles = match group.quantiles() {
        [] => Value::Null,
        quantiles => reals(quantiles),
    };
    json!([
        group.name(),
        group.layer().map_or(-1, |layer| layer as i64),
        group.count(),
        group.conflicts(),
        group.unchanged(),
        reals(group.products()),
        reals(group.distances()),
        reals(group.sums()),
        reals(group.magnitudes()),
        reals(group.fourths()),
        reals(group.largest()),
        quantiles,
        group.zeros(),
        group.nonfinite(),
        group.same_signs(),
        group.both()
    ])
}

fn measure(world: &World, step: &Object<'_>) -> Result<Value> {
    let roundings = [
        ("none", StatisticsRounding::None),
        ("per_model", StatisticsRounding::PerModel),
        ("per_tensor", StatisticsRounding::PerTensor),
    ];
    let mut statistics = Statistics::new(StatisticsOptions {
        resources: world.resources(),
        policy: step.policy(),
        quantiles: step.optional_array("quantiles").iter().map(real_of).collect(),
        max_rows: step.number("max_rows"),
        skip_missing: step.flag("skip_missing"),
        rounding: step.word("rounding", &roundings),
        on_nonfinite: step.word("on_nonfinite", &NONFINITE),
        ..Default::default()
    })?;
    statistics.set_base(world.model(step.text("base")))?;
    for (name, model) in step.tasks(world) {
        statistics.add_task(name, model)?;
    }
    statistics.run()?;
    let mut result = Map::new();
    for (key, scope) in [
        ("model", StatisticsScope::Model),
        ("tensors", StatisticsScope::Tensor),
        ("layers", StatisticsScope::Layer),
        ("kinds", StatisticsScope::Kind),
    ] {
        result.insert(key.into(), statistics.groups(scope).map(|group| told(&group)).collect());
    }
    let model = statistics.model()?;
    let moments = (0..model.n_tasks() as u32).map(|task| {
        let of = model.moments(task)?;
        let (magnitude, share) = (of.mean_magnitude, of.zero_share);
        Ok(reals(&[of.norm, of.mean, magnitude, of.deviation, of.kurtosis, share]))
    });
    result.insert("moments".into(), moments.collect::<Result<Vec<_>>>()?.into());
    for (key, metric, absolute) in [
        ("pearson", KinshipMetric::Pearson, false),
        ("cosine", KinshipMetric::Cosine, false),
        ("euclid", KinshipMetric::Euclid, false),
        ("absolute", KinshipMetric::Cosine, true),
    ] {
        let kinship = model.kinship(&KinshipOptions { metric, absolute })?;
        result.insert(key.into(), reals(kinship.values()));
        if metric == KinshipMetric::Pearson {
            result.insert("mean".into(), real(kinship.mean()));
        }
    }
    let split = statistics.split_kinship(&KinshipOptions::default())?;
    result.insert("split".into(), reals(split.values()));
    Ok(result.into())
}

/// Scores that are given, or follow from those of parents.
struct Scripted<'j> {
    given: &'j Map<String, Value>,
    scores: Vec<f64>,
    released: Vec<u32>,
}

impl SearchHost for Scripted<'_> {
    fn merge(&mut self, _: &Candidate<'_>) -> std::result::Result<(), emr::BoxError> {
        Ok(())
    }
    fn evaluate(&mut self, candidate: &Candidate<'_>) -> std::result::Result<f64, emr::BoxError> {
        let score = match (self.given.get(candidate.name), candidate.parents) {
            (Some(score), _) => real_of(score),
            (None, Some((a, b))) => {
                (self.scores[a as usize] + self.scores[b as usize]) * 0.5
                    + f64::from(candidate.generation) / 16.0
            }
            (None, None) => panic!("'{}' has no score", candidate.name),
        };
        self.scores.push(score);
        Ok(score)
    }
    fn similarity(&mut self, a: u32, b: u32) -> std::result::Result<f64, emr::BoxError> {
        Ok(1.0 / (1.0 + (self.scores[a as usize] - self.scores[b as usize]).abs()))
    }
    fn release(&mut self, number: u32) {
        self.released.push(number);
    }
}

fn search(step: &Object<'_>) -> Result<Value> {
    let partners = [("lowest", Partner::Lowest), ("highest", Partner::Highest), ("none", Partner::None)];
    let pools = [("all", PartnerPool::All), ("top", PartnerPool::Top), ("last", PartnerPool::Last)];
    let mut search = Search::new(&SearchOptions {
        stop_kinship: step.get("stop_kinship").map(real_of),
        k: step.count("k"),
        partner: step.word("partner", &partners),
        pool: step.word("pool", &pools),
        max_generations: step.count("max_generations"),
        minimise: step.flag("minimise"),
    })?;
    for name in step.texts("models") {
        search.add_model(name)?;
    }
    let given = step.object("scores").expect("there are scores");
    let mut host = Scripted { given, scores: Vec::new(), released: Vec::new() };
    let result = search.run(&mut host)?;
    let optional = |value: Option<f64>| real(value.unwrap_or(f64::NAN));
    let candidates = search.candidates().map(|of| {
        let (first, second) = of.parents.map_or((-1, -1), |(a, b)| (i64::from(a), i64::from(b)));
        json!([of.name, optional(of.score), optional(of.kinship), of.generation, first, second])
    });
    Ok(json!({
        "best": search.candidate(result.best)?.name,
        "score": real(result.score),
        "kinship": optional(result.kinship),
        "end": result.end as u32,
        "generation": result.generation,
        "n_scored": result.n_scored,
        "candidates": candidates.collect::<Vec<_>>(),
        "released": host.released,
    }))
}

fn trials(step: &Object<'_>) -> Result<Value> {
    let options = TrialsOptions {
        seed: step.number("seed"),
        n_trials: step.count("n_trials"),
        n_values: step.count("n_values"),
        minimise: step.flag("minimise"),
    };
    let best = emr::trials_run(&options, |_, values| {
        Ok(values.iter().fold(0.0, |score, value| score + (value - 0.5).abs()))
    })?;
    Ok(json!({"number": best.number, "score": real(best.score), "values": reals(&best.values)}))
}

const HEAD_KINDS: [(&str, HeadKind); 3] =
    [("softmax", HeadKind::Softmax), ("sigmoid", HeadKind::Sigmoid), ("identity", HeadKind::Identity)];

fn heads(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let kinds: Vec<_> = step.texts("kinds").into_iter().map(|word| word_of(word, &HEAD_KINDS)).collect();
    let tasks = step.tasks(world);
    let heads = Heads::with_kinds(&step.texts("globs"), &tasks, &kinds)?;
    let mut opened = Vec::new();
    for (i, (name, _)) in tasks.iter().enumerate() {
        opened.push((*name, heads.open_task(i as u32)?));
    }
    if let Some(base) = world.optional_model(step, "base") {
        opened.push(("base", heads.open_base(base)?));
    }
    let mut joined = heads.open_joined(step.dtype("dtype"))?;
    heads.set_metadata(&mut joined)?;
    opened.push(("joined", joined));
    for (name, model) in opened {
        world.models.insert(format!("{}/{name}", step.text("heads")), model);
    }
    let groups = heads.groups().into_iter().map(|group| {
        let kind = HEAD_KINDS.iter().find(|known| known.1 == group.kind).expect("it is known").0;
        json!([group.task, group.first, group.count, kind])
    });
    Ok(json!({
        "n_rows": heads.n_rows(),
        "heads": heads.tensors().collect::<Vec<_>>(),
        "groups": groups.collect::<Vec<_>>(),
    }))
}

fn soften(step: &Object<'_>) -> Result<Value> {
    let mut values: Vec<f32> = step.array("logits").iter().map(|value| real_of(value) as f32).collect();
    let groups = step.array("groups").iter().map(|group| HeadGroup {
        first: group[0].as_u64().expect("a row"),
        count: group[1].as_u64().expect("a number of rows"),
        kind: word_of(text_of(&group[2]), &HEAD_KINDS),
        ..Default::default()
    });
    let (rows, stride) = (step.number("rows") as usize, step.number("stride") as usize);
    emr::group_softmax_in_place(&mut values, stride, &groups.collect::<Vec<_>>())?;
    assert!(stride == 0 || values.len() == rows * stride, "whole rows");
    Ok(json!({"out": values.iter().map(|value| real(f64::from(*value))).collect::<Vec<_>>()}))
}

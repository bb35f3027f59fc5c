//! Combined models: the library's methods, the program's own, and what they fail with.

#[allow(dead_code)] // no test needs all of it
mod worlds;

use emr::{
    Chunk, Combination, CombinationOptions, CombinedAction, Cut, ErrorKind, MergingMethod, Method,
    MethodBase, MethodInfo, MethodTensor, Model, Number, Parameter, Resources, Stage,
};
use std::error::Error as StdError;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use worlds::{base, draws, model, models, task};

fn combined<'a>(method: &Method<'a>, options: CombinationOptions<'a>) -> emr::Result<Model<'a>> {
    let (base, tasks) = models()?;
    let mut combination = Combination::new(method, options)?;
    combination.set_base(&base)?;
    combination.add_task("math", &tasks[0])?;
    combination.add_task("code", &tasks[1])?;
    if method.info().parameters.iter().any(|parameter| parameter.name == "weight") {
        combination.set_parameter("weight", 0.5)?;
    }
    combination.open_model()
}

fn floats(model: &Model<'_>, name: &str) -> Vec<f32> {
    model.get(name).expect("it has it").to_floats().expect("it can be read")
}

#[test]
fn a_linear_mean_is_the_mean() -> emr::Result<()> {
    let (a, b) = (task("a", 2)?, task("b", 3)?);
    let mut combination = Combination::new(&Method::find("linear").unwrap(), Default::default())?;
    combination.add_task("a", &a)?;
    combination.add_task("b", &b)?;
    combination.set_parameter("weight", 0.5)?;
    let mean = combination.open_model()?;
    for tensor in &mean {
        let (of_a, of_b) = (floats(&a, tensor.name()), floats(&b, tensor.name()));
        for ((x, y), got) in of_a.iter().zip(of_b).zip(tensor.to_floats()?) {
            assert!(((x + y) / 2.0 - got).abs() < 1e-6);
        }
    }
    Ok(())
}

#[test]
fn the_library_s_methods_are_data() {
    let infos: Vec<_> = Method::all().map(|method| method.info()).collect();
    assert!(infos.len() > 15);
    for info in &infos {
        assert_eq!(Method::find(&info.name).unwrap().info(), *info);
    }
    let slerp = infos.iter().find(|info| info.name == "slerp").unwrap();
    assert_eq!(slerp.max_tasks, 2);
    assert!(Method::find("no such method").is_none());
    assert!(Method::find("ties\0").is_some(), "a name ends at a zero byte");
}

#[test]
fn a_plan_says_what_becomes_of_tensors() -> emr::Result<()> {
    let (base, tasks) = models()?;
    let policy = emr::Policy { private: vec!["*.bias".into()], ..Default::default() };
    let options = CombinationOptions { policy, ..Default::default() };
    let mut combination = Combination::new(&Method::find("ties").unwrap(), options)?;
    assert_eq!(combination.tensor(0).unwrap_err().kind(), ErrorKind::State);
    combination.set_base(&base)?;
    combination.add_task("math", &tasks[0])?;
    combination.set_parameter("weight", 1.0)?;
    let plan = combination.plan()?;
    assert_eq!((plan.n_tensors, plan.n_combined, plan.combined_params), (3, 2, 40006));
    let bias = combination.tensors().find(|tensor| tensor.name == "layer.bias").unwrap();
    assert_eq!(
        (bias.action, bias.reason, bias.shape),
        (CombinedAction::Copy, "matches a private pattern: the base's", &[2][..])
    );
    assert_eq!(combination.tensor(3).unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn what_cannot_be_is_an_error_with_the_library_s_sentence() -> emr::Result<()> {
    let mut combination = Combination::new(&Method::find("ties").unwrap(), Default::default())?;
    let error = combination.set_parameter("dnsity", 0.5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.message().contains("density"), "{error}");
    let error = combination.set_parameter("density", 2.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = combination.add_task("zero\0byte", &base()?).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    combination.add_task("math", &task("math", 2)?)?;
    let error = combination.add_task("math", &task("math", 2)?).unwrap_err();
    assert_eq!((error.kind(), error.task()), (ErrorKind::Exists, Some("math")));
    let error = combination.open_model().unwrap_err();
    assert_eq!(error.message(), "the method 'ties' needs a base");
    let other = model("other", &[("layer.weight", &[3, 3], draws(1, 9))])?;
    combination.set_base(&other)?;
    let error = combination.open_model().unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Mismatch, Some("layer.weight")));
    let memory =
        CombinationOptions { resources: Resources::new().threads(1).memory(1000), ..Default::default() };
    let error = combined(&Method::find("ties").unwrap(), memory).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    Ok(())
}

#[test]
fn a_model_lives_without_what_it_was_made_of() -> emr::Result<()> {
    let model = combined(&Method::find("ties").unwrap(), Default::default())?; // all else is gone
    assert_eq!(model.get("layer.weight").unwrap().to_floats()?.len(), 6);
    Ok(())
}

#[test]
fn nothing_is_set_once_a_model_is_open() -> emr::Result<()> {
    let (base, tasks) = models()?;
    let mut combination = Combination::new(&Method::find("task_arithmetic").unwrap(), Default::default())?;
    combination.set_base(&base)?;
    combination.add_task("math", &tasks[0])?;
    combination.set_parameter("weight", 1.0)?;
    let (first, second) = (combination.open_model()?, combination.open_model()?);
    assert_eq!(combination.add_task("code", &tasks[1]).unwrap_err().kind(), ErrorKind::State);
    assert_eq!(floats(&first, "layer.bias"), floats(&second, "layer.bias"));
    Ok(())
}

/// The mean of the k largest changes of each task, by magnitude: sums, cuts, parameters, scratch, the base.
struct Largest<'a> {
    seen: &'a AtomicUsize,
}

impl MergingMethod for Largest<'_> {
    fn info(&self) -> MethodInfo {
        let keep = Parameter {
            name: "keep".into(),
            initial: Some(2.0),
            range: 0.0..=100.0,
            per_task: true,
            is_whole: true,
        };
        MethodInfo {
            name: "largest".into(),
            parameters: vec![keep],
            base: MethodBase::Required,
            ..Default::default()
        }
    }
    fn stages(&self) -> Vec<Stage> {
        vec![Stage::Sums(Number::fixed(1)), Stage::Cuts(Number::per_input(1))]
    }
    fn scratch_floats(&self) -> u32 {
        1
    }
    fn add_sums(&self, stage: usize, chunk: &mut Chunk<'_>, sums: &mut [f64]) {
        assert_eq!((stage, sums.len()), (0, 1));
        assert!(chunk.tensor().found().is_empty());
        sums[0] += chunk.n() as f64;
    }
    fn list_keys(&self, stage: usize, chunk: &mut Chunk<'_>, list: u32, keys: &mut [f32]) {
        assert_eq!((stage, keys.len()), (1, chunk.n()));
        keys.iter_mut().zip(chunk.input(list as usize)).for_each(|(key, x)| *key = x.abs());
    }
    fn place_cut(&self, _stage: usize, tensor: &MethodTensor<'_>, cut: u32) -> (u32, u64) {
        assert_eq!(tensor.found(), [tensor.count() as f64]);
        (cut, tensor.parameter(cut as usize, 0) as u64)
    }
    fn combine(&self, chunk: &mut Chunk<'_>, out: &mut [f32]) -> Result<(), emr::BoxError> {
        self.seen.fetch_add(chunk.n(), Ordering::Relaxed);
        let tensor = chunk.tensor();
        assert!(tensor.has_base() && chunk.base().is_some_and(|base| base.len() == chunk.n()));
        assert_eq!(tensor.inputs().collect::<Vec<_>>(), ["math", "code"]);
        let first = chunk.first();
        for (t, input) in chunk.inputs().enumerate() {
            let cut = Cut::at(&tensor.found()[1..], t);
            for (i, x) in input.iter().enumerate() {
                if cut.is_above(x.abs(), first + i as u64) {
                    chunk.scratch()[i] += x / 2.0;
                }
            }
        }
        out.copy_from_slice(chunk.scratch());
        Ok(())
    }
}

#[test]
fn an_own_method_has_all_that_the_library_s_have() -> emr::Result<()> {
    let seen = AtomicUsize::new(0);
    {
        let method = Method::own(Largest { seen: &seen })?;
        let (base, tasks) = models()?;
        let mut combination = Combination::new(&method, Default::default())?;
        combination.set_base(&base)?;
        combination.add_task("math", &tasks[0])?;
        combination.add_task("code", &tasks[1])?;
        combination.set_parameter_of("keep", 1, Some("layer.*"), 1.0)?;
        let model = combination.open_model()?;
        drop((method, combination));
        for name in ["layer.weight", "model.layers.0.mlp.up_proj.weight"] {
            let kept = [2, if name == "layer.weight" { 1 } else { 2 }];
            let want = mean_of_largest(&base, &tasks, name, kept);
            assert_eq!(floats(&model, name), want, "{name}");
        }
    }
    assert_eq!(seen.load(Ordering::Relaxed), 40006);
    Ok(())
}

/// The five largest changes of the first task, of all tensors together; rows are whole.
struct Five {
    whole_model: bool,
}

impl MergingMethod for Five {
    fn info(&self) -> MethodInfo {
        MethodInfo {
            name: "five".into(),
            base: MethodBase::Required,
            whole_model: self.whole_model,
            ..Default::default()
        }
    }
    fn stages(&self) -> Vec<Stage> {
        vec![Stage::Sums(Number::fixed(1)), Stage::Cuts(Number::fixed(1))]
    }
    fn needed_stages(&self, _: &MethodTensor<'_>) -> u32 {
        0b10
    }
    fn row_length(&self, tensor: &MethodTensor<'_>) -> u64 {
        *tensor.shape().last().unwrap()
    }
    fn list_keys(&self, _: usize, chunk: &mut Chunk<'_>, _: u32, keys: &mut [f32]) {
        keys.iter_mut().zip(chunk.input(0)).for_each(|(key, x)| *key = x.abs());
    }
    fn place_cut(&self, _: usize, tensor: &MethodTensor<'_>, _: u32) -> (u32, u64) {
        assert_eq!(tensor.name().is_empty(), self.whole_model);
        (0, 5)
    }
    fn combine(&self, chunk: &mut Chunk<'_>, out: &mut [f32]) -> Result<(), emr::BoxError> {
        let row = chunk.tensor().row_length().max(1);
        assert_eq!((chunk.first() % row, chunk.n() as u64 % row), (0, 0));
        assert_eq!(chunk.tensor().found()[0], 0.0, "the stage was not needed");
        let (cut, first) = (Cut::at(&chunk.tensor().found()[1..], 0), chunk.position());
        for (i, (to, x)) in out.iter_mut().zip(chunk.input(0)).enumerate() {
            *to = if cut.is_above(x.abs(), first + i as u64) { *x } else { 0.0 };
        }
        Ok(())
    }
}

#[test]
fn an_own_method_may_join_all_tensors() -> emr::Result<()> {
    let (base, _) = models()?;
    for (whole_model, kept) in [(true, 5), (false, 5 + 2 + 5)] {
        let model = combined(&Method::own(Five { whole_model })?, Default::default())?;
        let changed = base.iter().map(|tensor| {
            let combined = floats(&model, tensor.name());
            floats(&base, tensor.name()).iter().zip(combined).filter(|(a, b)| **a != *b).count()
        });
        assert_eq!(changed.sum::<usize>(), kept);
    }
    Ok(())
}

/// The same as `Largest` by the definition.
fn mean_of_largest(base: &Model<'_>, tasks: &[Model<'_>; 2], name: &str, kept: [usize; 2]) -> Vec<f32> {
    let base = floats(base, name);
    let mut sum = vec![0f32; base.len()];
    for (task, kept) in tasks.iter().zip(kept) {
        let change: Vec<f32> = floats(task, name).iter().zip(&base).map(|(x, b)| x - b).collect();
        let mut order: Vec<usize> = (0..change.len()).collect();
        order.sort_by(|a, b| change[*b].abs().total_cmp(&change[*a].abs()).then(a.cmp(b)));
        order[..kept].iter().for_each(|&i| sum[i] += change[i] / 2.0);
    }
    base.iter().zip(sum).map(|(b, s)| b + s).collect()
}

/// Where a method goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Check,
    RowLength,
    NeededStages,
    Sums,
    Keys,
    Cuts,
    Settle,
    Combine,
    Nowhere,
}

#[derive(Debug)]
struct Wrong;
impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it went wrong")
    }
}
impl StdError for Wrong {}

struct Fails {
    place: Place,
    panics: bool,
}

impl Fails {
    fn at(&self, place: Place) -> Result<(), emr::BoxError> {
        match (place == self.place, self.panics) {
            (true, true) => panic!("panicked in {place:?}"),
            (true, false) => Err(Wrong.into()),
            _ => Ok(()),
        }
    }
    fn infallible(&self, place: Place) {
        if self.panics {
            let _ = self.at(place);
        }
    }
}

impl MergingMethod for Fails {
    fn info(&self) -> MethodInfo {
        MethodInfo { name: "fails".into(), base: MethodBase::Required, ..Default::default() }
    }
    fn stages(&self) -> Vec<Stage> {
        vec![Stage::Sums(Number::per_input(1)), Stage::Cuts(Number::fixed(1))]
    }
    fn check(&self, _: &MethodTensor<'_>) -> Result<(), emr::BoxError> {
        self.at(Place::Check)
    }
    fn row_length(&self, _: &MethodTensor<'_>) -> u64 {
        self.infallible(Place::RowLength);
        0
    }
    fn needed_stages(&self, _: &MethodTensor<'_>) -> u32 {
        self.infallible(Place::NeededStages);
        3
    }
    fn add_sums(&self, _: usize, _: &mut Chunk<'_>, _: &mut [f64]) {
        self.infallible(Place::Sums);
    }
    fn list_keys(&self, _: usize, _: &mut Chunk<'_>, _: u32, _: &mut [f32]) {
        self.infallible(Place::Keys);
    }
    fn place_cut(&self, _: usize, tensor: &MethodTensor<'_>, _: u32) -> (u32, u64) {
        self.infallible(Place::Cuts);
        (0, tensor.count() / 2)
    }
    fn settle(&self, _: usize, _: &MethodTensor<'_>, _: &mut [f64]) -> Result<(), emr::BoxError> {
        self.at(Place::Settle)
    }
    fn combine(&self, _: &mut Chunk<'_>, _: &mut [f32]) -> Result<(), emr::BoxError> {
        self.at(Place::Combine)
    }
}

/// Opens, prepares with three threads, and reads.
fn read_all(place: Place, panics: bool) -> emr::Result<()> {
    let method = Method::own(Fails { place, panics })?;
    let model = combined(&method, Default::default())?;
    model.prepare(Resources::new().threads(3))?;
    model.iter().try_for_each(|tensor| tensor.to_floats().map(drop))
}

#[test]
fn a_method_s_error_is_the_source() {
    for place in [Place::Check, Place::Settle, Place::Combine] {
        let error = read_all(place, false).unwrap_err();
        assert!(error.source().is_some_and(|source| source.is::<Wrong>()), "{place:?}: {error}");
        assert!(error.message().ends_with("it went wrong") && error.tensor().is_some(), "{error}");
    }
    read_all(Place::Nowhere, false).unwrap();
}

#[test]
fn a_method_s_panic_goes_on_in_the_caller() {
    let places = [
        Place::Check,
        Place::RowLength,
        Place::NeededStages,
        Place::Sums,
        Place::Keys,
        Place::Cuts,
        Place::Settle,
        Place::Combine,
    ];
    for place in places {
        let panic = catch_unwind(AssertUnwindSafe(|| read_all(place, true))).unwrap_err();
        let words = panic.downcast_ref::<String>().expect("the panic's own words");
        assert_eq!(*words, format!("panicked in {place:?}"));
    }
}

#[test]
fn an_own_method_that_cannot_be_is_an_error() {
    struct Shapeless(Vec<Stage>, &'static str);
    impl MergingMethod for Shapeless {
        fn info(&self) -> MethodInfo {
            MethodInfo { name: self.1.into(), ..Default::default() }
        }
        fn stages(&self) -> Vec<Stage> {
            self.0.clone()
        }
        fn combine(&self, _: &mut Chunk<'_>, _: &mut [f32]) -> Result<(), emr::BoxError> {
            Ok(())
        }
    }
    let five = vec![Stage::Sums(Number::fixed(1)); 5];
    assert_eq!(Method::own(Shapeless(five, "five")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Method::own(Shapeless(vec![], "a\0b")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    // One that says it has sums, but adds up none.
    let panic = catch_unwind(|| {
        let method = Method::own(Shapeless(vec![Stage::Sums(Number::fixed(1))], "half")).unwrap();
        combined(&method, Default::default()).unwrap().get("layer.bias").unwrap().to_floats()
    });
    let words = *panic.unwrap_err().downcast::<String>().unwrap();
    assert!(words.contains("stage 0 of the method has sums, but it has no add_sums"), "{words}");
}

#[test]
fn random_bits_depend_on_names_and_seed_alone() -> emr::Result<()> {
    struct Draws;
    impl MergingMethod for Draws {
        fn info(&self) -> MethodInfo {
            MethodInfo { name: "draws".into(), ..Default::default() }
        }
        fn combine(&self, chunk: &mut Chunk<'_>, out: &mut [f32]) -> Result<(), emr::BoxError> {
            let mut words = vec![0; chunk.n()];
            chunk.tensor().draw(1, chunk.first(), &mut words);
            out.iter_mut().zip(words).for_each(|(to, word)| *to = (word >> 16) as f32);
            Ok(())
        }
    }
    let read = |seed| -> emr::Result<_> {
        let options = CombinationOptions { seed, ..Default::default() };
        let model = combined(&Method::own(Draws)?, options)?;
        let name = "model.layers.0.mlp.up_proj.weight";
        let mut part = vec![0.0; 100];
        model.get(name).unwrap().read_floats(777, &mut part)?;
        assert_eq!(part, floats(&model, name)[777..877]);
        Ok(part)
    };
    assert_eq!(read(1)?, read(1)?);
    assert_ne!(read(1)?, read(2)?);
    Ok(())
}

#[test]
fn a_combined_model_is_read_by_many_threads() -> emr::Result<()> {
    let model = combined(&Method::find("ties").unwrap(), Default::default())?;
    let want = floats(&model, "model.layers.0.mlp.up_proj.weight");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(floats(&model, "model.layers.0.mlp.up_proj.weight"), want));
        }
    });
    Ok(())
}

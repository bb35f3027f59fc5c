//! Merges.

use crate::given::{self, base, is_same, model, Folder};
use emr::{
    as_bytes, Action, BoxError, Bundle, Compression, Dtype, ErrorKind, Merge, MergeOptions, Model,
    Modulation, ModulatorKind, OnNonfinite, Output, RescalePer, Resources, SinkPart,
};

#[test]
fn a_plan_tells_what_a_run_would_do() {
    let mut merge = given::merge(&base(), MergeOptions::default());
    let plan = merge.plan().unwrap();
    assert_eq!((plan.merged_params, plan.n_merged, plan.tensors.len()), (96 * 701, 2, 2));
    assert!(plan.bytes_in >= 3 * 96 * 701 * 4 && plan.bytes_out > 0 && plan.peak_memory > 0);
    assert_eq!((&plan.tensors[0].name[..], plan.tensors[0].action), ("w", Action::Merge));
    assert_eq!(merge.add_task("late", &model("late", 5)).unwrap_err().kind(), ErrorKind::State);
}

#[test]
fn a_report_tells_what_it_did() {
    let options = MergeOptions { measure: true, ..Default::default() };
    let (bytes, report) = given::merge(&base(), options).run_in_memory().unwrap();
    let french = &report.tasks[0];
    assert_eq!((&french.name[..], report.tasks.len(), french.empty_mask), ("french", 2, false));
    assert!(french.fidelity.cosine > 0.5 && french.rescaler > 0.0);
    let bundle = Bundle::open_input(bytes, None).unwrap();
    assert_eq!(bundle.task("french").unwrap().info().unwrap().mask_ones, french.mask_ones);
}

#[test]
fn threads_and_memory_change_no_byte() {
    let run = |resources| {
        let (bytes, _) =
            given::merge(&base(), MergeOptions { resources, ..Default::default() }).run_in_memory().unwrap();
        bytes.to_vec()
    };
    let expected = run(Resources::new().threads(1));
    assert_eq!(run(Resources::new()), expected);
    assert_eq!(run(Resources::new().threads(3).memory(8 << 20)), expected);
    let folder = Folder::new();
    given::merge(&base(), MergeOptions::default()).run(Output::file(folder.path("all.emr"))).unwrap();
    assert_eq!(std::fs::read(folder.path("all.emr")).unwrap(), expected);
}

#[test]
fn what_is_pushed_makes_the_same_bundle() {
    let (expected, _) = given::merge(&base(), MergeOptions::default()).run_in_memory().unwrap();
    let pushed = |of: &Model<'_>| {
        let mut builder = Model::builder(of.name()).unwrap();
        for tensor in of {
            builder.add_pushed(tensor.name(), tensor.dtype(), tensor.shape()).unwrap();
        }
        builder.set_metadata("format", "pt").unwrap();
        builder.build()
    };
    let sources = [(emr::BASE, base()), (0, model("fr", 2)), (1, model("de", 3))];
    let mut merge = Merge::new(MergeOptions::default()).unwrap();
    merge.set_base(&pushed(&sources[0].1)).unwrap();
    merge.add_task("french", &pushed(&sources[1].1)).unwrap();
    merge.add_task("german", &pushed(&sources[2].1)).unwrap();
    let mut bytes = Vec::new();
    let mut push = merge.begin(Output::writer(&mut bytes)).unwrap();
    let mut places = [0; 3];
    loop {
        let mut is_done = true;
        for (place, (source, model)) in places.iter_mut().zip(&sources) {
            let expected = push.expected(*source).unwrap();
            let Some(tensor) = expected.tensor else { continue };
            is_done = false;
            let bytes = model.get(tensor.name()).unwrap().to_bytes().unwrap();
            let size = bytes.len();
            let end = size.min(*place + 10_000);
            *place = (*place + push.push(*source, &bytes[*place..end]).unwrap()) % size;
        }
        if is_done {
            break;
        }
    }
    push.finish().unwrap();
    assert_eq!(bytes, *expected);
}

#[test]
fn a_push_that_ends_early_leaves_no_file() {
    let folder = Folder::new();
    let mut builder = Model::builder("mine").unwrap();
    builder.add_pushed("w", Dtype::F32, &[4]).unwrap();
    let mine = builder.build();
    let begin = || {
        let mut merge = Merge::new(MergeOptions::default()).unwrap();
        merge.set_base(&mine).unwrap();
        merge.add_task("a", &mine).unwrap();
        merge.begin(Output::file(folder.path("all.emr"))).unwrap()
    };
    let mut push = begin();
    push.push(0, as_bytes(&[1f32; 4])).unwrap();
    let error = push.finish().unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::State, Some("w")));
    drop(begin());
    assert_eq!(folder.names(), [] as [&str; 0]);
    let mut push = begin();
    assert!(push.push(7, &[0]).is_err());
    assert_eq!(mine.get("w").unwrap().to_bytes().unwrap_err().kind(), ErrorKind::State);
}

/// Gathers what comes.
#[derive(Default)]
struct Gathered {
    unified: Vec<u8>,
    ones: [u32; 3],
    rescalers: Vec<(u32, u32, u64, Vec<f32>)>,
}

impl emr::Sink for Gathered {
    fn unified(&mut self, part: SinkPart, values: &[u8]) -> Result<(), BoxError> {
        assert!(values.len() == part.n * 4 || values.len() == part.n * 2);
        self.unified.extend_from_slice(values);
        Ok(())
    }

    fn mask(&mut self, task: u32, part: SinkPart, bits: &[u8]) -> Result<(), BoxError> {
        assert_eq!(bits.len(), part.n.div_ceil(8));
        self.ones[task as usize] += bits.iter().map(|byte| byte.count_ones()).sum::<u32>();
        Ok(())
    }

    fn rescalers(&mut self, task: u32, part: SinkPart, rescalers: &[f32]) -> Result<(), BoxError> {
        self.rescalers.push((task, part.tensor, part.first, rescalers.to_vec()));
        Ok(())
    }
}

#[test]
fn a_sink_gets_what_a_bundle_has() {
    let base = base();
    let options = || MergeOptions { rescale_per: RescalePer::Tensor, ..Default::default() };
    let (bytes, _) = given::merge(&base, options()).run_in_memory().unwrap();
    let bundle = Bundle::open_input(bytes, None).unwrap();
    let mut gathered = Gathered::default();
    let report = given::merge(&base, options()).run_into(&mut gathered).unwrap();
    let unified: Vec<u8> = bundle.unified().unwrap().iter().flat_map(|t| t.to_bytes().unwrap()).collect();
    assert_eq!(gathered.unified, unified);
    assert_eq!(gathered.ones.map(u64::from)[..2], [report.tasks[0].mask_ones, report.tasks[1].mask_ones]);
    assert_eq!(gathered.rescalers.len(), 4);
    let mut rescaler = [0.0];
    bundle.task("german").unwrap().modulator().unwrap().read_rescalers(1, 0, &mut rescaler).unwrap();
    assert_eq!(*gathered.rescalers.last().unwrap(), (1, 1, 0, rescaler.to_vec()));
}

#[test]
fn a_two_sided_task_has_two_rescalers_for_each() {
    let base = base();
    let modulation = Modulation { rescale_per: RescalePer::Tensor, ..ModulatorKind::TwoSided.into() };
    let options = MergeOptions { modulation, ..Default::default() };
    let mut gathered = Gathered::default();
    given::merge(&base, options).run_into(&mut gathered).unwrap();
    assert!(gathered.rescalers.iter().all(|(_, _, _, rescalers)| rescalers.len() == 2));
}

#[test]
fn every_task_may_have_its_own_kind() {
    let base = base();
    let mut merge = given::merge(&base, MergeOptions::default());
    merge.set_modulation(1, ModulatorKind::Sign).unwrap();
    let thin = Modulation { kind: ModulatorKind::Thin, thinning: 8, ..Default::default() };
    let number = merge.add_task("latin", &model("la", 4)).unwrap();
    merge.set_modulation(number, thin).unwrap();
    let (bytes, _) = merge.run_in_memory().unwrap();
    let bundle = Bundle::open_input(bytes, None).unwrap();
    let kinds: Vec<_> = bundle.tasks().map(|task| task.modulation().unwrap().0.kind).collect();
    assert_eq!(kinds, [ModulatorKind::Mask, ModulatorKind::Sign, ModulatorKind::Thin]);
    assert_eq!(bundle.task("latin").unwrap().modulation().unwrap().0.thinning, 8);
}

#[test]
fn a_bundle_grows() {
    let base = base();
    let options = || MergeOptions { extendable: true, compression: Compression::None, ..Default::default() };
    let (whole, _) = given::merge(&base, options()).run_in_memory().unwrap();
    let mut first = Merge::new(options()).unwrap();
    first.set_base(&base).unwrap();
    first.add_task("french", &model("fr", 2)).unwrap();
    let (bytes, _) = first.run_in_memory().unwrap();
    let bundle = Bundle::open_input(bytes, None).unwrap();
    let mut second = Merge::new(MergeOptions::default()).unwrap();
    second.extend(&bundle).unwrap();
    drop(bundle);
    second.set_base(&base).unwrap();
    assert_eq!(second.add_task("german", &model("de", 3)).unwrap(), 1);
    let (bytes, report) = second.run_in_memory().unwrap();
    assert_eq!(bytes[..], whole[..]);
    assert_eq!(report.tasks.len(), 2);
}

#[test]
fn a_bundle_that_is_added_to_stays_where_another_one_is_refused() {
    let base = base();
    let bundle = || {
        let options = MergeOptions {
            extendable: true,
            unified_dtype: Some(Dtype::F16),
            rescale_per: RescalePer::Tensor,
            ..Default::default()
        };
        Bundle::open_input(given::merge(&base, options).run_in_memory().unwrap().0, None).unwrap()
    };
    let mut merge = Merge::new(MergeOptions::default()).unwrap();
    merge.extend(&bundle()).unwrap();
    assert_eq!(merge.extend(&bundle()).unwrap_err().kind(), ErrorKind::State);
    merge.set_base(&base).unwrap();
    merge.add_task("dutch", &model("nl", 4)).unwrap();
    let mut gathered = Gathered::default();
    let report = merge.run_into(&mut gathered).unwrap();
    assert_eq!(report.tasks.len(), 3);
    // in the bundle's dtype, whatever the options say
    assert_eq!(gathered.unified.len() as u64, report.merged_params * 2);
}

#[test]
fn a_merge_goes_on_where_it_was_stopped() {
    use std::ops::ControlFlow::{Break, Continue};
    let folder = Folder::new();
    let path = folder.path("all.emr");
    let files = folder.path("m");
    std::fs::create_dir(&files).unwrap();
    let stored = |name: &str, seed| {
        let mut builder = Model::builder(name).unwrap();
        let values = given::numbers(seed, 1 << 20);
        builder.add_owned("w", Dtype::F32, &[1 << 10, 1 << 10], as_bytes(&values).to_vec()).unwrap();
        let path = files.join(name);
        builder.build().write(&path, Default::default()).unwrap();
        path
    };
    let (base, french) = (stored("base.safetensors", 1), stored("fr.safetensors", 2));
    let merge = |resources| {
        let mut merge = Merge::new(MergeOptions { resources, ..Default::default() }).unwrap();
        merge.set_base(&Model::open(&base).unwrap()).unwrap();
        merge.add_task("french", &Model::open(&french).unwrap()).unwrap();
        merge
    };
    let (expected, _) = merge(Resources::new()).run_in_memory().unwrap();
    let stop =
        |progress: emr::Progress| if progress.done > progress.total / 2 { Break(()) } else { Continue(()) };
    let error = merge(Resources::new().progress(stop)).run_resumable(&path, false, 1 << 18).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Canceled);
    assert_eq!(folder.names(), ["all.emr.journal.partial", "all.emr.partial", "m"]);
    merge(Resources::new()).run_resumable(&path, false, 1 << 18).unwrap();
    assert_eq!(folder.names(), ["all.emr", "m"]);
    assert_eq!(std::fs::read(&path).unwrap(), *expected);
    assert_eq!(merge(Resources::new()).run_resumable(&path, false, 0).unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn a_value_that_is_not_finite_is_named() {
    let mut values = given::numbers(2, 96 * 700);
    values[70] = f32::NAN;
    let mut builder = Model::builder("fr").unwrap();
    builder.add("w", &given::SHAPE, &values).unwrap();
    builder.add_tensor(&model("fr", 2), "b").unwrap();
    let french = builder.build();
    let run = |on_nonfinite| {
        let mut merge = Merge::new(MergeOptions { on_nonfinite, ..Default::default() }).unwrap();
        merge.set_base(&base()).unwrap();
        merge.add_task("french", &french).unwrap();
        merge.run(Output::writer(std::io::sink()))
    };
    let error = run(OnNonfinite::Error).unwrap_err();
    assert_eq!(
        (error.kind(), error.task(), error.tensor()),
        (ErrorKind::NonFinite, Some("french"), Some("w"))
    );
    let report = run(OnNonfinite::Zero).unwrap();
    assert_eq!((report.tasks[0].zeroed, report.tensors[0].zeroed), (1, 1));
}

#[test]
fn what_cannot_be_is_refused() {
    let refused = [
        MergeOptions { block_params: 1000, ..Default::default() },
        MergeOptions { compression: Compression::Level(99), ..Default::default() },
        MergeOptions { unified_dtype: Some(Dtype::I8), ..Default::default() },
    ];
    for options in refused {
        assert_eq!(Merge::new(options).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let too_little = MergeOptions { resources: Resources::new().memory(1000), ..Default::default() };
    let error = given::merge(&base(), too_little).run(Output::writer(std::io::sink())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let empty = Merge::new(MergeOptions::default()).unwrap();
    assert!(empty.run(Output::writer(std::io::sink())).is_err());
    let mut merge = Merge::new(MergeOptions::default()).unwrap();
    merge.set_base(&base()).unwrap();
    merge.add_task("french", &model("fr", 2)).unwrap();
    let error = merge.add_task("french", &model("fr", 2)).unwrap_err();
    assert_eq!((error.kind(), error.task()), (ErrorKind::Exists, Some("french")));
}

#[test]
fn an_embedded_base_is_enough() {
    let bundle = given::bundle();
    let base = base();
    let task = bundle.task("french").unwrap();
    assert!(is_same(&task.open(None).unwrap(), &task.open(Some(&base)).unwrap()));
}

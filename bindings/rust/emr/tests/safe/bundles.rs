//! Bundles.

use crate::given::{self, base, is_same, model, Folder};
use emr::{
    BaseCheck, Bundle, Dtype, ErrorKind, MergeOptions, Model, ModulatorKind, Output, Policy, Rescale,
    RescalePer, Resources, Tie, ViewOptions,
};

#[test]
fn a_bundle_tells_what_it_is() {
    let bundle = given::bundle();
    assert_eq!(bundle.name(), "all");
    let info = bundle.info().unwrap();
    assert_eq!((info.n_tasks, info.n_tensors, info.n_merged, info.n_elected), (2, 2, 2, 2));
    assert_eq!((info.merged_params, info.has_base, info.extendable), (96 * 701, true, false));
    assert_eq!((info.rescale, info.rescale_per), (Rescale::L1, RescalePer::Model));
    assert_eq!((info.tie, info.unified_dtype, info.version.0), (Tie::Zero, Some(Dtype::F32), 1));
    let w = bundle.tensor(bundle.find_tensor("w").unwrap()).unwrap();
    assert_eq!((w.name, w.shape, w.count, w.dtype, w.merged), ("w", &[96, 700][..], 67200, Dtype::F32, true));
    assert_eq!(bundle.tensor(2).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bundle.base_metadata(), [("format", "pt")]);
    assert_eq!((bundle.find_base_metadata("format"), bundle.find_base_metadata("x")), (Some("pt"), None));
}

#[test]
fn a_task_tells_what_it_is() {
    let bundle = given::bundle();
    let names: Vec<String> = bundle.tasks().map(|task| task.name().to_owned()).collect();
    assert_eq!(names, ["french", "german"]);
    let german = bundle.task("german").unwrap();
    assert_eq!((german.number(), german.bundle().name()), (1, "all"));
    let info = german.info().unwrap();
    assert!(info.mask_ones > 0 && info.rescaler > 0.0 && info.n_private == 0);
    let (modulation, fidelity) = german.modulation().unwrap();
    assert_eq!((modulation.kind, modulation.rescale), (ModulatorKind::Mask, Rescale::L1));
    assert!(fidelity.error.is_nan());
    assert_eq!((german.metadata(), german.find_metadata("format")), (vec![("format", "pt")], Some("pt")));
    let error = bundle.task("klingon").unwrap_err();
    assert_eq!(
        (error.kind(), error.task(), error.file()),
        (ErrorKind::NotFound, Some("klingon"), Some("all"))
    );
    assert_eq!(bundle.task_at(2).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn private_tensors_are_told() {
    let base = base();
    let policy = Policy { private: vec!["b".into()], ..Default::default() };
    let (bytes, report) =
        given::merge(&base, MergeOptions { policy, ..Default::default() }).run_in_memory().unwrap();
    assert_eq!(report.tensors[1].action, emr::Action::Private);
    let bundle = Bundle::open_input(bytes, None).unwrap();
    let task = bundle.task("french").unwrap();
    let private = task.private_tensors().unwrap();
    assert_eq!((private[0].name, private[0].shape, private[0].bytes), ("b", &[96][..], 96 * 4));
    let opened = task.open(Some(&base)).unwrap();
    let expected = model("fr", 2).get("b").unwrap().to_bytes().unwrap();
    assert_eq!(opened.get("b").unwrap().to_bytes().unwrap(), expected);
}

#[test]
fn the_base_the_unified_vector_and_a_mask_are_models() {
    let bundle = given::bundle();
    assert!(is_same(&bundle.base().unwrap(), &base()));
    let unified = bundle.unified().unwrap();
    let mask = bundle.task("french").unwrap().mask().unwrap();
    assert_eq!((unified.len(), mask.get("w").unwrap().dtype()), (2, Dtype::Bool));
    let ones: usize =
        mask.iter().map(|t| t.to_bytes().unwrap().iter().filter(|&&bit| bit == 1).count()).sum();
    assert_eq!(ones as u64, bundle.task("french").unwrap().info().unwrap().mask_ones);
    let (bytes, _) = given::merge(&base(), MergeOptions::default()).run_in_memory().unwrap();
    let without = Bundle::open_input(bytes, None).unwrap();
    assert_eq!(without.base().unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn another_base_is_refused() {
    let bundle = given::bundle();
    bundle.check_base(&base(), Resources::new()).unwrap();
    let mut builder = Model::builder("other").unwrap();
    builder.add_tensor(&base(), "w").unwrap();
    builder.add_tensor(&model("x", 9), "b").unwrap();
    let other = builder.build();
    let error = bundle.check_base(&other, Resources::new()).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Mismatch, Some("b")));
    let differences = bundle.base_differences(&other, Resources::new()).unwrap();
    assert_eq!((differences.len(), &differences[0].tensor[..]), (1, "b"));
    assert!(differences[0].why.contains("differ"), "{}", differences[0].why);
    assert_eq!(bundle.base_differences(&base(), Resources::new()).unwrap(), []);

    let task = bundle.task("french").unwrap();
    assert_eq!(task.open(Some(&other)).unwrap_err().kind(), ErrorKind::Mismatch);
    let unchecked = ViewOptions { check: BaseCheck::Never, ..Default::default() };
    task.open_with(Some(&other), unchecked).unwrap();
    let folder = Folder::new();
    let late = ViewOptions { check: BaseCheck::Write, ..Default::default() };
    let opened = task.open_with(Some(&other), late).unwrap();
    assert_eq!(opened.get("w").unwrap().to_bytes().unwrap_err().kind(), ErrorKind::State);
    let error = opened.write(folder.path("m.safetensors"), Default::default()).unwrap_err();
    assert_eq!((error.kind(), folder.names().len()), (ErrorKind::Mismatch, 0));
}

#[test]
fn a_task_comes_in_another_dtype() {
    let options = ViewOptions { dtype: Some(Dtype::BF16), f32_vectors: true, ..Default::default() };
    let opened = given::bundle().task("french").unwrap().open_with(None, options).unwrap();
    assert_eq!(opened.get("w").unwrap().dtype(), Dtype::BF16);
    assert_eq!(opened.get("b").unwrap().dtype(), Dtype::F32);
}

#[test]
fn damage_is_found() {
    let mut bytes = given::bundle_bytes();
    given::bundle().verify(Resources::new()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = Bundle::open_input(&bytes[..], Some("damaged")).unwrap();
    let error = damaged.verify(Resources::new()).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Corrupt, Some("damaged")));
    assert_eq!(Bundle::open_input(&bytes[..9], None).unwrap_err().kind(), ErrorKind::Format);
    assert_eq!(Bundle::open_input(Vec::new(), None).unwrap_err().kind(), ErrorKind::Format);
}

#[test]
fn tasks_are_dropped_and_extracted() {
    let bundle = given::bundle();
    let folder = Folder::new();
    let expected = bundle.task("german").unwrap().open(None).unwrap();
    let report = bundle
        .drop_tasks_reported(&["french"], Output::file(folder.path("d.emr")), Resources::new())
        .unwrap();
    assert!(report.unified > 0 && report.alone > 0 && !report.lost_unified);
    let extracted =
        bundle.extract_tasks_reported(&["german"], Output::writer(std::io::sink()), Resources::new());
    assert_eq!(extracted.unwrap(), report);
    let error = bundle.drop_tasks(&["french"], Output::file(folder.path("d.emr")), Resources::new());
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Exists);
    let output = Output::file(folder.path("d.emr")).replace(true);
    bundle.extract_tasks(&["german"], output, Resources::new().threads(1)).unwrap();
    for left in [Bundle::open(folder.path("d.emr")).unwrap(), Bundle::map(folder.path("d.emr")).unwrap()] {
        assert_eq!(left.tasks().len(), 1);
        assert!(is_same(&left.task("german").unwrap().open(None).unwrap(), &expected));
    }
    for refused in [&["french", "french"][..], &["french", "german"], &["klingon"]] {
        let output = Output::file(folder.path("e.emr"));
        assert!(bundle.drop_tasks(refused, output, Resources::new()).is_err());
    }
    assert_eq!(folder.names(), ["d.emr"]);
}

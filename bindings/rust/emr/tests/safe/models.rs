//! Models of the host's own.

use crate::given::{self, is_same, model, numbers, Folder};
use emr::{as_bytes, BlockType, Chunks, Dtype, ErrorKind, Input, Model, ModelOptions, Role};

#[test]
fn a_tensor_tells_what_it_is() {
    let values = numbers(7, 6);
    let mut builder = Model::builder("mine").unwrap();
    builder.add("layer.weight", &[2, 3], &values).unwrap();
    builder.add("steps", &[], &[7i64]).unwrap();
    builder.add::<u8>("nothing", &[0, 4], &[]).unwrap();
    let model = builder.build();
    assert_eq!((model.name(), model.len(), model.is_empty()), ("mine", 3, false));
    let tensor = model.get("layer.weight").unwrap();
    assert_eq!((tensor.name(), tensor.dtype(), tensor.shape()), ("layer.weight", Dtype::F32, &[2, 3][..]));
    assert_eq!((tensor.count(), tensor.bytes()), (6, 24));
    assert_eq!(tensor.to_floats().unwrap(), values);
    let mut two = [0.0; 2];
    tensor.read_floats(3, &mut two).unwrap();
    assert_eq!(two, values[3..5]);
    assert_eq!(model.tensor(1).unwrap().to_bytes().unwrap(), 7i64.to_le_bytes());
    assert_eq!(
        (model.tensor(1).unwrap().shape(), model.tensor(2).unwrap().to_bytes().unwrap()),
        (&[][..], vec![])
    );
    assert!(model.tensor(3).is_none() && model.get("other").is_none() && model.get("a\0b").is_none());
    assert!(tensor.has_shape_of(&tensor) && !tensor.has_shape_of(&model.tensor(1).unwrap()));
    assert_eq!(model.iter().map(|t| t.name()).collect::<Vec<_>>(), ["layer.weight", "steps", "nothing"]);
}

#[test]
fn reading_past_the_end_is_an_error_with_the_tensors_name() {
    let model = model("mine", 1);
    let tensor = model.get("w").unwrap();
    let error = tensor.read(tensor.bytes() - 1, &mut [0; 2]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidArgument, Some("w")));
    assert_eq!(error.to_string(), error.message());
}

#[test]
fn memory_of_another_length_is_refused() {
    let mut builder = Model::builder("mine").unwrap();
    for (shape, elements) in
        [(&[2u64, 3][..], 5usize), (&[2, 3], 7), (&[u64::MAX, 2], 0), (&[1 << 60], 0), (&[3], 0)]
    {
        let values = vec![0f32; elements];
        let error = builder.add_owned("w", Dtype::F32, shape, as_bytes(&values).to_vec()).unwrap_err();
        assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidArgument, Some("w")), "{shape:?}");
        assert_eq!(error.file(), Some("mine"));
    }
    // C's own sentence, of what it sees itself.
    let error = builder.add_owned("w", Dtype::F4, &[3], vec![0; 2]).unwrap_err();
    assert!(error.message().contains("no whole number of bytes"), "{error}");
    assert_eq!(builder.add("nul\0", &[1], &[0f32]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    builder.add("w", &[1], &[0f32]).unwrap();
    assert_eq!(builder.add("w", &[1], &[0f32]).unwrap_err().kind(), ErrorKind::Exists);
}

#[test]
fn borrowed_memory_is_not_copied() {
    let mut values = numbers(1, 4096);
    {
        let mut builder = Model::builder("mine").unwrap();
        builder.add("w", &[4096], &values).unwrap();
        assert_eq!(builder.build().get("w").unwrap().to_floats().unwrap(), values);
    }
    values[0] = 2.0; // the borrow ends with the model
}

#[test]
fn an_extent_of_an_input_is_a_tensor() {
    let values = numbers(3, 100);
    let mut file = b"head".to_vec();
    file.extend_from_slice(as_bytes(&values));
    let mut builder = Model::builder("mine").unwrap();
    let input = builder.input(Input::from(&file[..])).unwrap();
    builder.add_extent("all", Dtype::F32, &[100], input, 4).unwrap();
    builder.add_extent("half", Dtype::F32, &[50], input, 4 + 200).unwrap();
    builder.add_extent("beyond", Dtype::F32, &[100], input, 100).unwrap();
    let model = builder.build();
    assert_eq!(model.get("all").unwrap().to_floats().unwrap(), values);
    assert_eq!(model.get("half").unwrap().to_floats().unwrap(), values[50..]);
    assert_eq!(model.get("beyond").unwrap().to_floats().unwrap_err().kind(), ErrorKind::Io);
    let foreign = Model::builder("other").unwrap().add_extent("w", Dtype::F32, &[1], input, 0).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn blocks_read_as_floats() {
    let values = numbers(5, 64);
    let mut blocks = vec![0; 2 * BlockType::Q8_0.bytes()];
    emr::quantise(BlockType::Q8_0, &mut blocks, &values).unwrap();
    let mut back = vec![0.0; 64];
    emr::dequantise(BlockType::Q8_0, &mut back, &blocks).unwrap();
    let mut builder = Model::builder("mine").unwrap();
    builder.add_bytes("w", BlockType::Q8_0, &[2, 32], &blocks).unwrap();
    assert!(builder.add_bytes("v", BlockType::Q8_0, &[64, 1], &blocks).is_err());
    let model = builder.build();
    assert_eq!(model.get("w").unwrap().dtype(), Dtype::F32);
    assert_eq!(model.get("w").unwrap().to_floats().unwrap(), back);
    assert!(emr::quantise(BlockType::Q8_0, &mut [0; 68], &values[1..]).is_err());
    assert!(emr::dequantise(BlockType::Q4_0, &mut back, &blocks).is_err());
}

#[test]
fn a_computed_tensor_is_asked_in_its_chunks_and_has_scratch_memory() {
    let options = ModelOptions { scratch_bytes: 256, ..Default::default() };
    let mut builder = emr::ModelBuilder::with_options("mine", options).unwrap();
    let chunks = Chunks { granule: 4, max_count: 64 };
    builder
        .add_computed_in("w", Dtype::U16, &[1001], chunks, |asked| {
            assert!(asked.first % 4 == 0 && asked.count <= 64);
            assert_eq!((asked.out.len(), asked.scratch.len()), (asked.count * 2, 256));
            asked.scratch[0] += 1;
            for (i, pair) in asked.out.chunks_exact_mut(2).enumerate() {
                pair.copy_from_slice(&(asked.first as u16 + i as u16).to_le_bytes());
            }
            Ok(())
        })
        .unwrap();
    let bytes = builder.build().get("w").unwrap().to_bytes().unwrap();
    let numbers: Vec<u16> =
        bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    assert_eq!(numbers, (0..1001).collect::<Vec<u16>>());
}

#[test]
fn preparing_asks_for_every_tensor() {
    let asked = std::sync::Mutex::new(Vec::new());
    let options = ModelOptions {
        prepare: Some(Box::new(|tensor| {
            asked.lock().unwrap().push(tensor.name().to_owned());
            Ok(())
        })),
        ..Default::default()
    };
    let mut builder = emr::ModelBuilder::with_options("mine", options).unwrap();
    for name in ["a", "b"] {
        builder.add_computed(name, Dtype::U8, &[1], given::fill(0)).unwrap();
    }
    let model = builder.build();
    model.prepare(emr::Resources::new()).unwrap();
    drop(model);
    let mut asked = asked.into_inner().unwrap();
    asked.sort();
    assert_eq!(asked, ["a", "b"]);
}

#[test]
fn metadata_are_set_removed_and_copied_while_the_model_is_not_shared() {
    let mut model = model("mine", 1);
    model.set_metadata("license", "mit").unwrap();
    assert_eq!(model.all_metadata(), [("format", "pt"), ("license", "mit")]);
    assert_eq!(model.metadata("license"), Some("mit"));
    assert!(model.remove_metadata("format").unwrap() && !model.remove_metadata("format").unwrap());
    let clone = model.clone();
    let error = model.set_metadata("a", "b").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    drop(clone);
    model.set_metadata("a", "b").unwrap();
    let mut other = Model::zeros_like(&model).unwrap();
    other.copy_metadata(&model).unwrap();
    assert_eq!(other.all_metadata(), model.all_metadata());
}

#[test]
fn models_are_made_of_models() {
    let given = model("mine", 1);
    let zeros = Model::zeros_like(&given).unwrap();
    assert!(zeros.get("w").unwrap().to_floats().unwrap().iter().all(|&x| x == 0.0));
    assert_eq!(Model::ones_like(&given).unwrap().len(), 2);
    let renamed = given.renamed(&[("w", "weight")]).unwrap();
    assert!(renamed.get("weight").is_some() && renamed.get("w").is_none());
    assert_eq!(given.renamed(&[("no.*", "x.*")]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut builder = Model::builder("some").unwrap();
    builder.add_tensor(&given, "w").unwrap();
    builder.add_tensor_as(&given, "b", "bias").unwrap();
    let error = builder.add_tensor(&given, "v").unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::NotFound, Some("v")));
    let some = builder.build();
    drop(given);
    assert_eq!(some.get("bias").unwrap().to_floats().unwrap(), numbers(1001, 96));
}

#[test]
fn roles_are_told() {
    let mut builder = Model::builder("mine").unwrap();
    let codes = [0u8; 32];
    builder.add_bytes("l.weight", Dtype::F8E4M3, &[4, 8], &codes).unwrap();
    builder.add("l.weight_scale", &[], &[1f32]).unwrap();
    builder.add("n.running_mean", &[4], &[0f32; 4]).unwrap();
    builder.add("n.running_var", &[4], &[1f32; 4]).unwrap();
    builder.add("n.weight", &[4], &[1f32; 4]).unwrap();
    let model = builder.build();
    let role = |name: &str| model.get(name).unwrap().role().unwrap();
    assert_eq!((role("l.weight").role, role("l.weight").can_dequantise), (Role::Code, true));
    assert_eq!(role("l.weight_scale").role, Role::Sidecar);
    assert_eq!(role("l.weight_scale").code.unwrap().name(), "l.weight");
    assert_eq!((role("n.running_mean").role, Role::Statistic.name()), (Role::Statistic, "statistic"));
    assert_eq!((role("n.weight").role, role("n.weight").family), (Role::Weight, None));
}

#[test]
fn an_adapter_is_applied() {
    let config = r#"{"peft_type": "LORA", "r": 1, "lora_alpha": 2, "target_modules": ["l"]}"#;
    let mut builder = Model::builder("adapter").unwrap();
    builder.add("base_model.model.l.lora_A.weight", &[1, 2], &[1f32, 2.0]).unwrap();
    builder.add("base_model.model.l.lora_B.weight", &[3, 1], &[1f32, 0.0, -1.0]).unwrap();
    let mut adapter = builder.build();
    adapter.set_metadata(emr::ADAPTER_CONFIG, config).unwrap();
    let mut builder = Model::builder("base").unwrap();
    builder.add("l.weight", &[3, 2], &[10f32; 6]).unwrap();
    let base = builder.build();
    let applied = base.with_adapter(&adapter, emr::Resources::new()).unwrap();
    drop(base);
    assert_eq!(applied.get("l.weight").unwrap().to_floats().unwrap(), [12.0, 14.0, 10.0, 10.0, 8.0, 6.0]);

    let mut other = adapter.renamed(&[]).unwrap();
    emr::adapters_agree(&[("a", &adapter), ("b", &other)], &[]).unwrap();
    let changed = config.replace("\"peft_type\"", "\"inference_mode_x\": 3, \"peft_type\"");
    other.set_metadata(emr::ADAPTER_CONFIG, &changed).unwrap();
    let error = emr::adapters_agree(&[("task 'a'", &adapter), ("task 'b'", &other)], &[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Mismatch);
    emr::adapters_agree(&[("a", &adapter), ("b", &other)], &["inference_mode_x"]).unwrap();
}

#[test]
fn dtypes_and_conversions() {
    for dtype in Dtype::ALL {
        assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
        assert!(dtype.bits() > 0);
    }
    assert_eq!((Dtype::from_name("bf16"), Dtype::from_name("")), (None, None));
    assert!(Dtype::F8E5M2.is_float() && !Dtype::Bool.is_float());
    let error = emr::convert(Dtype::BF16, &mut [0; 4], Dtype::F32, &[0; 4]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(emr::convert(Dtype::U8, &mut [0; 4], Dtype::F32, &[0; 16]).is_err());
    let mut numbers = [1.5f64, 2.5];
    emr::as_bytes_mut(&mut numbers)[8..].fill(0);
    assert_eq!(numbers, [1.5, 0.0]);
}

#[test]
fn the_library_tells_its_version() {
    assert_eq!(emr::version(), env!("CARGO_PKG_VERSION"));
    assert_eq!(emr::version_number(), 2000);
    let features = emr::features().unwrap();
    assert!(features.hosted && features.format.0 == 1, "{features:?}");
    assert_eq!(features.zstd_version > 0, cfg!(feature = "zstd"));
}

#[test]
fn a_copy_on_disk_is_the_same() {
    let folder = Folder::new();
    let given = model("mine", 4);
    let paths = given.write(folder.path("m.safetensors"), Default::default()).unwrap();
    assert_eq!(paths, [folder.path("m.safetensors")]);
    assert!(is_same(&given, &Model::open(&paths[0]).unwrap()));
}

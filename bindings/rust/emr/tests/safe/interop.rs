//! Files go to and come from the crate `safetensors`.

use crate::given::{model, numbers};
use emr::{Dtype, Model, Output, ReadOptions};
use safetensors::tensor::TensorView;
use safetensors::{Dtype as TheirDtype, SafeTensors};
use std::collections::HashMap;

#[test]
fn what_emr_writes_the_crate_reads() {
    let mut bytes = Vec::new();
    model("a", 1).write_safetensors(Output::writer(&mut bytes), Default::default()).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    let theirs = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(theirs.len(), 2);
    let w = theirs.tensor("w").unwrap();
    assert_eq!((w.dtype(), w.shape()), (TheirDtype::F32, &[96, 700][..]));
    assert_eq!(w.data(), emr::as_bytes(&numbers(1, 96 * 700)));
}

#[test]
fn what_the_crate_writes_emr_reads() {
    let bytes: Vec<u8> = (0..96).collect();
    let pairs = [
        (TheirDtype::F64, Dtype::F64),
        (TheirDtype::F32, Dtype::F32),
        (TheirDtype::F16, Dtype::F16),
        (TheirDtype::BF16, Dtype::BF16),
        (TheirDtype::F8_E4M3, Dtype::F8E4M3),
        (TheirDtype::F8_E5M2, Dtype::F8E5M2),
        (TheirDtype::BOOL, Dtype::Bool),
        (TheirDtype::U8, Dtype::U8),
        (TheirDtype::I8, Dtype::I8),
        (TheirDtype::U16, Dtype::U16),
        (TheirDtype::I16, Dtype::I16),
        (TheirDtype::U32, Dtype::U32),
        (TheirDtype::I32, Dtype::I32),
        (TheirDtype::U64, Dtype::U64),
        (TheirDtype::I64, Dtype::I64),
    ];
    let views: Vec<(String, TensorView<'_>)> = pairs
        .iter()
        .map(|(theirs, ours)| {
            let shape = vec![4, 96 * 8 / ours.bits() as usize / 4];
            (format!("t.{ours}"), TensorView::new(*theirs, shape, &bytes).unwrap())
        })
        .collect();
    let metadata = HashMap::from([("made by".to_owned(), "a test".to_owned())]);
    let file = safetensors::serialize(views, Some(metadata)).unwrap();
    let model = Model::open_safetensors(&file[..], "theirs", ReadOptions::default()).unwrap();
    assert_eq!((model.len(), model.metadata("made by")), (pairs.len(), Some("a test")));
    for (_, ours) in pairs {
        let tensor = model.get(&format!("t.{ours}")).unwrap();
        assert_eq!((tensor.dtype(), tensor.to_bytes().unwrap()), (ours, bytes.clone()));
    }
}

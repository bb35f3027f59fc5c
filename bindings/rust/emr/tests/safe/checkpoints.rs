//! Model files.

use crate::given::{exists, is_same, model, Folder};
use emr::{ErrorKind, Input, Model, Output, ReadOptions, Resources, WriteOptions};
use std::ops::ControlFlow;

#[test]
fn a_file_that_is_there_stays_unless_it_is_to_be_replaced() {
    let folder = Folder::new();
    let path = folder.path("m.safetensors");
    model("a", 1).write(&path, WriteOptions::default()).unwrap();
    let error = model("b", 2).write(&path, WriteOptions::default()).unwrap_err();
    assert_eq!((error.kind(), error.file()), (ErrorKind::Exists, path.to_str()));
    model("b", 2).write(&path, WriteOptions { replace: true, ..Default::default() }).unwrap();
    assert!(is_same(&model("b", 2), &Model::open(&path).unwrap()));
}

#[test]
fn shards_are_written_and_read() {
    let folder = Folder::new();
    let options = WriteOptions { shard_bytes: 1000, ..Default::default() };
    let paths = model("a", 1).write(folder.path("m/"), options).unwrap();
    assert_eq!(paths.len(), 3);
    assert!(is_same(&model("a", 1), &Model::open(folder.path("m")).unwrap()));
    let mapped = ReadOptions { map: true, ..Default::default() };
    assert!(is_same(&model("a", 1), &Model::open_with(folder.path("m"), mapped).unwrap()));
}

#[test]
fn safetensors_go_through_writers_and_inputs() {
    let mut bytes = Vec::new();
    model("a", 1).write_safetensors(Output::writer(&mut bytes), WriteOptions::default()).unwrap();
    let borrowed = Model::open_safetensors(&bytes[..], "bytes", ReadOptions::default()).unwrap();
    assert_eq!(borrowed.name(), "bytes");
    assert!(is_same(&model("a", 1), &borrowed));
    let cut = Model::open_safetensors(&bytes[..100], "cut", ReadOptions::default()).unwrap_err();
    assert_eq!((cut.kind(), cut.file()), (ErrorKind::Format, Some("cut")));
}

#[test]
fn files_are_inputs() {
    let folder = Folder::new();
    let path = folder.path("m.safetensors");
    model("a", 1).write_safetensors(Output::file(&path), WriteOptions::default()).unwrap();
    for file in [emr::File::open(&path).unwrap(), emr::File::map(&path).unwrap()] {
        let bytes = std::fs::read(&path).unwrap();
        let mut head = [0; 8];
        emr::ReadAt::read_exact_at(&file, 0, &mut head).unwrap();
        assert_eq!((&head[..], emr::ReadAt::len(&file).unwrap()), (&bytes[..8], bytes.len() as u64));
        assert!(emr::ReadAt::read_exact_at(&file, bytes.len() as u64, &mut head).is_err());
        let opened = Model::open_safetensors(file.clone(), "file", ReadOptions::default()).unwrap();
        let through_rust =
            Model::open_safetensors(Input::reader(file), "file", ReadOptions::default()).unwrap();
        assert!(is_same(&opened, &through_rust));
    }
    let error = emr::File::open(folder.path("none")).unwrap_err();
    assert_eq!(error.system(), Some(2));
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn gguf_is_written_of_what_has_its_header_alone() {
    let error = model("a", 1).write_gguf(Output::writer(Vec::new()), WriteOptions::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let bytes = small_gguf();
    let opened = Model::open_gguf(&bytes[..], "g", ReadOptions::default()).unwrap();
    assert_eq!(opened.get("w").unwrap().to_floats().unwrap(), [1.0, 2.0]);
    assert_eq!(opened.get("w").unwrap().gguf_blocks(), None);
    assert!(opened.get(emr::GGUF_HEADER).is_some());
    let mut copy = Vec::new();
    opened.write_gguf(Output::writer(&mut copy), WriteOptions::default()).unwrap();
    assert!(is_same(&opened, &Model::open_gguf(copy, "h", ReadOptions::default()).unwrap()));
}

/// One tensor "w" of two floats.
fn small_gguf() -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(b"w");
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(2u64.to_le_bytes());
    bytes.extend(0u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(1f32.to_le_bytes());
    bytes.extend(2f32.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes
}

#[test]
fn a_write_that_is_stopped_leaves_no_file() {
    let folder = Folder::new();
    for threads in [1, 3] {
        let stop = |_| ControlFlow::Break(());
        let resources = Resources::new().threads(threads).progress(stop);
        let options = WriteOptions { resources, ..Default::default() };
        let error = model("a", 1).write(folder.path("m.safetensors"), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Canceled, "{error}");
        assert!(std::error::Error::source(&error).is_none());
        assert!(!exists(&folder.path("m.safetensors")));
    }
    assert_eq!(folder.names(), [] as [&str; 0]);
}

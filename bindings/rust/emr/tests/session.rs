//! A bundle in an engine: apply, multiply, gather; threads; what is refused, and what panics.

#[allow(dead_code)] // no test needs all of it
mod worlds;

use emr::{
    BlockType, Bundle, Dtype, ErrorKind, Gather, Input, Model, Product, ReadAt, Resources, Session,
    SessionOptions, Target,
};
use std::error::Error as StdError;
use std::io;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use worlds::{bundle, count, draws, task, TENSORS};

const LARGE: &str = TENSORS[2].0;
const ROWS: usize = 40;
const COLUMNS: usize = 1000;
const TASKS: [u32; 3] = [0, 1, emr::BASE];

/// A task's weights as its model gives them.
fn weights_of(bundle: &Bundle<'_>, base: &Model<'_>, task: u32, name: &str) -> emr::Result<Vec<f32>> {
    match task {
        emr::BASE => base.get(name).unwrap().to_floats(),
        task => bundle.task_at(task)?.open(Some(base))?.get(name).unwrap().to_floats(),
    }
}

#[test]
fn apply_gives_what_the_task_s_model_has() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    for task in [0, 1, emr::BASE, 0] {
        let mut outs = TENSORS.map(|(_, shape)| vec![0f32; count(shape)]);
        let targets = outs.iter_mut().zip(TENSORS).map(|(out, (name, _))| Target::new(name, out));
        session.apply(task, targets.collect::<Vec<_>>())?;
        for (out, (name, _)) in outs.iter().zip(TENSORS) {
            assert_eq!(*out, weights_of(&bundle, &base, task, name)?, "{name} of {task}");
        }
    }
    Ok(())
}

#[test]
fn a_tensor_without_elements_takes_no_room() -> emr::Result<()> {
    let base = worlds::model("base", &[("empty", &[0, 3], vec![]), ("w", &[2], vec![1.0, 2.0])])?;
    let task = worlds::model("task", &[("empty", &[0, 3], vec![]), ("w", &[2], vec![2.0, 4.0])])?;
    let mut merge = emr::Merge::new(Default::default())?;
    merge.set_base(&base)?;
    merge.add_task("task", &task)?;
    let bundle = Bundle::open_input(merge.run_in_memory()?.0, None)?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    session.apply(0, [Target::new("empty", &mut [0f32; 0])])?;
    session.multiply(&[0], Product::new("empty", &[], &mut []))
}

#[test]
fn weights_come_in_other_formats_and_parts() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let want = weights_of(&bundle, &base, 1, LARGE)?;
    let number = bundle.find_tensor(LARGE)?;

    let mut halves = vec![0u16; want.len()];
    let mut bytes = vec![0u8; 2 * want.len()];
    session.apply(1, [Target::with_format(number, Dtype::BF16, &mut halves)])?;
    emr::convert(Dtype::BF16, &mut bytes, Dtype::F32, emr::as_bytes(&want))?;
    assert_eq!(emr::as_bytes(&halves), bytes);

    let mut part = [0f64; 5];
    session.apply(1, [Target::new(LARGE, &mut part).first(777).count(3)])?;
    assert_eq!(part, [f64::from(want[777]), f64::from(want[778]), f64::from(want[779]), 0.0, 0.0]);

    let mut blocks = vec![0u8; 64 / 32 * BlockType::Q8_0.bytes()];
    let first = 992 + 8; // a row is 31 blocks and a quarter: it cannot be in blocks
    let refused = session.apply(1, [Target::with_format(LARGE, BlockType::Q8_0, &mut blocks).first(first)]);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);

    let mut change = vec![0f32; 6];
    let mut whole = vec![0f32; 6];
    let of = base.get("layer.weight").unwrap().to_floats()?;
    session.apply(
        1,
        [Target::new("layer.weight", &mut change).without_base(), Target::new("layer.weight", &mut whole)],
    )?;
    assert!(change.iter().zip(&of).zip(&whole).all(|((change, base), whole)| base + change == *whole));
    Ok(())
}

#[test]
fn staged_weights_go_through_a_function() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let want = weights_of(&bundle, &base, 0, LARGE)?;
    let (mut staging, mut got) = (vec![0f32; 3000], Vec::new());
    let target = Target::staged(LARGE, &mut staging, |part| {
        assert_eq!(part.first, got.len() as u64);
        got.extend_from_slice(part.data);
        part.data.fill(f32::NAN); // it may be written over
        Ok(())
    });
    session.apply(0, [target])?;
    assert_eq!(got, want);

    let (mut bits, mut n) = ([0u8; 64], 0);
    let target = Target::staged_with_format(LARGE, Dtype::F16, &mut bits, |part| {
        n += part.data.len();
        Ok(())
    });
    session.apply(0, [target.first(100).count(1000)])?;
    assert_eq!(n, 2000);
    Ok(())
}

#[test]
fn a_writer_s_failure_is_the_caller_s() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let mut staging = [0f32; 100];
    let refuses = Target::staged(LARGE, &mut staging, |part| match part.first {
        0 => Ok(()),
        _ => Err(io::Error::other("the device is gone").into()),
    });
    let error = session.apply(0, [refuses]).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Io, Some(LARGE)));
    assert!(error.message().ends_with("the device is gone"));
    assert!(error.source().is_some_and(|source| source.is::<io::Error>()));

    let mut staging = [0f32; 100];
    let target = Target::staged(LARGE, &mut staging, |_| std::panic::panic_any(7));
    let panic = catch_unwind(AssertUnwindSafe(|| session.apply(0, [target]))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&7));
    let mut out = [0f32; 6];
    session.apply(0, [Target::new("layer.weight", &mut out)]) // it stays usable
}

#[test]
fn what_cannot_be_applied_is_refused_and_nothing_is_written() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let mut good = [9f32; 6];
    let mut refused = |target: Target<'_>, kind: ErrorKind| {
        let error = session.apply(0, [Target::new("layer.weight", &mut good), target]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(good, [9.0; 6]);
        error
    };
    let invalid = ErrorKind::InvalidArgument;
    let error = refused(Target::new("no.such", &mut [0f32; 6]), ErrorKind::NotFound);
    assert_eq!((error.task(), error.tensor()), (Some("french"), Some("no.such")));
    refused(Target::new(77, &mut [0f32; 6]), ErrorKind::NotFound);
    refused(Target::new("layer.bias", &mut [0f32; 3]), invalid); // more than it has
    refused(Target::new("layer.bias", &mut [0f32; 2]).first(1), invalid);
    refused(Target::new("layer.bias", &mut [0f32; 0]), invalid); // no room is not all room
    refused(Target::new("layer.bias", &mut [0f32; 2]).count(0), invalid);
    refused(Target::new("layer.bias", &mut [0f32; 1]).count(2), invalid);
    refused(Target::new("layer.bias", &mut [0i32; 2]), invalid);
    refused(Target::with_format("layer.bias", Dtype::F32, &mut [0u8; 7]), invalid);
    refused(Target::new("a\0b", &mut [0f32; 2]), invalid);
    refused(Target::staged("layer.bias", &mut [0f32; 0], |_| Ok(())), invalid);
    assert_eq!(session.apply(2, []).unwrap_err().kind(), ErrorKind::NotFound);
    session.apply(0, [])
}

/// By the definition, in f64.
fn product(weights: &[f32], x: &[f32]) -> Vec<f64> {
    weights.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum()).collect()
}

#[test]
fn multiply_is_by_each_vector_s_task() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let x = draws(9, 3 * COLUMNS);
    let mut y = vec![0f32; 3 * ROWS];
    session.multiply(&TASKS, Product::new(LARGE, &x, &mut y))?;
    for (i, task) in TASKS.into_iter().enumerate() {
        let weights = weights_of(&bundle, &base, task, LARGE)?;
        let want = product(&weights, &x[i * COLUMNS..][..COLUMNS]);
        for (got, want) in y[i * ROWS..][..ROWS].iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-3, "{got} {want}");
        }
    }

    // Some rows, with room between vectors, on top of what is there.
    let number = bundle.find_tensor(LARGE)?;
    let mut some = vec![1f32; 3 * 10];
    let rows = Product::new(number, &x, &mut some).rows(5..12).strides(COLUMNS, 10).add();
    session.multiply(&TASKS, rows)?;
    for b in 0..3 {
        let want: Vec<f32> = y[b * ROWS + 5..][..7].iter().map(|y| y + 1.0).collect();
        assert_eq!((&some[10 * b..][..7], &some[10 * b + 7..][..3]), (&want[..], &[1.0; 3][..]));
    }

    // Shorter rows are parts of the sums; the change is what is left without the base.
    let mut halves = vec![0f32; 2 * ROWS];
    session.multiply(&[1], Product::new(LARGE, &x[..500], &mut halves).columns(500))?;
    let mut change = vec![0f32; ROWS];
    session.multiply(&[emr::BASE], Product::new(LARGE, &x[..COLUMNS], &mut change).without_base())?;
    assert_eq!(change, [0.0; ROWS]);
    Ok(())
}

#[test]
fn products_stay_within_their_slices() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let x = [0f32; 2 * COLUMNS];
    let mut refused = |tasks: &[u32], product: Product<'_>, kind: ErrorKind| {
        let error = session.multiply(tasks, product).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    };
    let invalid = ErrorKind::InvalidArgument;
    refused(&[0, 1], Product::new(LARGE, &x[..2 * COLUMNS - 1], &mut [0.0; 2 * ROWS]), invalid);
    refused(&[0, 1], Product::new(LARGE, &x, &mut [0.0; 2 * ROWS - 1]), invalid);
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; ROWS]).rows(0..41), invalid);
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; ROWS]).rows(41..u64::MAX), invalid);
    #[allow(clippy::reversed_empty_ranges)]
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; ROWS]).rows(3..2), invalid);
    refused(&[0, 1], Product::new(LARGE, &x, &mut [0.0; 2 * ROWS]).strides(usize::MAX, 0), invalid);
    refused(&[0, 1], Product::new(LARGE, &x, &mut [0.0; 2 * ROWS]).strides(999, 0), invalid);
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; 2 * ROWS]).columns(3), invalid);
    refused(&[0], Product::new("no.such", &x, &mut [0.0; ROWS]).rows(0..ROWS as u64), ErrorKind::NotFound);
    refused(&[9], Product::new(LARGE, &x, &mut [0.0; ROWS]), ErrorKind::NotFound);
    refused(&[0], Product::new(99, &x, &mut [0.0; ROWS]), ErrorKind::NotFound);
    session.multiply(&[], Product::new(LARGE, &[], &mut []))
}

#[test]
fn gather_takes_rows_of_each_task() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let (tasks, rows) = ([1, emr::BASE, 0, 1], [3, 39, 0, 3]);
    let mut out = vec![0f32; 4 * COLUMNS];
    session.gather(&tasks, Gather::new(LARGE, &mut out).rows(&rows))?;
    for (i, (task, row)) in tasks.into_iter().zip(rows).enumerate() {
        let weights = weights_of(&bundle, &base, task, LARGE)?;
        assert_eq!(out[i * COLUMNS..][..COLUMNS], weights[row as usize * COLUMNS..][..COLUMNS]);
    }
    let mut biases = [0f32; 5];
    session.gather(&[0, 1], Gather::new("layer.bias", &mut biases).stride(3))?;
    assert_eq!(biases[..2], weights_of(&bundle, &base, 0, "layer.bias")?);
    assert_eq!(biases[3..], weights_of(&bundle, &base, 1, "layer.bias")?);

    let mut refused = |gather: Gather<'_>, kind: ErrorKind| {
        assert_eq!(session.gather(&[0, 1], gather).unwrap_err().kind(), kind);
    };
    let invalid = ErrorKind::InvalidArgument;
    refused(Gather::new("layer.bias", &mut [0f32; 3]), invalid);
    refused(Gather::new("layer.bias", &mut [0f32; 4]).rows(&[0]), invalid);
    refused(Gather::new("layer.bias", &mut [0f32; 4]).rows(&[0, 1]), invalid);
    refused(Gather::new("layer.bias", &mut [0f32; 4]).stride(usize::MAX), invalid);
    refused(Gather::new("layer.bias", &mut [0f32; 4]).columns(3), invalid);
    refused(Gather::new("layer.bias", &mut [0i64; 4]), invalid);
    refused(Gather::new("no.such", &mut [0f32; 4]), ErrorKind::NotFound);
    session.gather(&[], Gather::new("layer.bias", &mut [0f32; 0]))
}

#[test]
fn a_session_without_base_gives_changes() -> emr::Result<()> {
    let (_, bundle) = bundle()?;
    let options = SessionOptions { without_base: true, ..Default::default() };
    let mut session = Session::new(&bundle, None, options)?;
    let mut out = [0f32; 6];
    let error = session.apply(0, [Target::new("layer.weight", &mut out)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::State);
    session.apply(0, [Target::new("layer.weight", &mut out).without_base()])?;
    assert_ne!(out, [0.0; 6]);
    Ok(())
}

#[test]
fn what_does_not_go_together_makes_no_session() -> emr::Result<()> {
    let (_, bundle) = bundle()?;
    let other = task("other", 8)?;
    let error = Session::new(&bundle, Some(&other), Default::default()).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Mismatch, Some("layer.weight")));
    assert_eq!(Session::new(&bundle, None, Default::default()).unwrap_err().kind(), ErrorKind::NotFound);
    let few = SessionOptions { resources: Resources::new().memory(10), ..Default::default() };
    assert_eq!(Session::new(&bundle, Some(&worlds::base()?), few).unwrap_err().kind(), ErrorKind::Limit);
    Ok(())
}

#[test]
fn threads_give_what_one_does() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let waits = AtomicUsize::new(0);
    let options = SessionOptions {
        resources: Resources::new().threads(1),
        wait: Some(Box::new(|| {
            waits.fetch_add(1, Ordering::Relaxed);
            std::thread::yield_now();
        })),
        mask_bytes: 64 << 10, // two blocks: they have to wait for each other
        ..Default::default()
    };
    let mut session = Session::new(&bundle, Some(&base), options)?;
    let before = session.info()?;
    let threads = (0..3).map(|_| session.open_thread()).collect::<emr::Result<Vec<_>>>()?;
    assert_eq!(session.info()?.memory_bytes, before.memory_bytes + 3 * before.thread_bytes);
    let want = [0, 1].map(|task| weights_of(&bundle, &base, task, LARGE).unwrap());
    std::thread::scope(|scope| {
        for (t, mut thread) in threads.into_iter().enumerate() {
            let want = &want;
            scope.spawn(move || {
                let mut out = vec![0f32; want[0].len()];
                for task in (0..6).map(|i| (t + i) % 2) {
                    thread.apply(task as u32, [Target::new(LARGE, &mut out)]).unwrap();
                    assert_eq!(out, want[task]);
                }
            });
        }
        let mut y = vec![0f32; ROWS];
        session.multiply(&[0], Product::new(LARGE, &draws(9, COLUMNS), &mut y)).unwrap();
    });
    let info = session.info()?;
    assert!(info.masks_found + info.masks_read > 0);
    Ok(())
}

#[test]
fn objects_may_be_dropped_in_any_order() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let want = weights_of(&bundle, &base, 1, LARGE)?;
    let pool = emr::Pool::new(2)?;
    let options = SessionOptions { resources: Resources::new().pool(&pool), ..Default::default() };
    let mut session = Session::new(&bundle, Some(&base), options)?;
    drop((bundle, base, pool));
    let mut thread = session.open_thread()?;
    drop(session);
    let mut out = vec![0f32; want.len()];
    thread.apply(1, [Target::new(LARGE, &mut out)])?;
    assert_eq!(out, want);
    Ok(())
}

/// A bundle's bytes that cannot be read once that is wanted, or panic.
struct Broken {
    bytes: Vec<u8>,
    fails: AtomicBool,
    panics: AtomicBool,
}

impl ReadAt for Broken {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        assert!(!self.panics.load(Ordering::Relaxed), "panicked on {:?}", std::thread::current().id());
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        buffer.copy_from_slice(&self.bytes[offset as usize..][..buffer.len()]);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes.len() as u64)
    }
}

#[test]
fn a_reader_s_failure_on_any_thread_is_the_caller_s() -> emr::Result<()> {
    let base = worlds::base()?;
    let mut merge = emr::Merge::new(Default::default())?;
    merge.set_base(&base)?;
    merge.add_task("french", &task("french", 2)?)?;
    let mut bytes = Vec::new();
    merge.run(emr::Output::writer(&mut bytes))?;
    let broken = Arc::new(Broken { bytes, fails: AtomicBool::new(false), panics: AtomicBool::new(false) });
    let bundle = Bundle::open_input(Input::reader(Arc::clone(&broken)), None)?;
    let options = SessionOptions { resources: Resources::new().threads(3), ..Default::default() };
    let mut session = Session::new(&bundle, Some(&base), options)?;
    let mut out = vec![0f32; ROWS * COLUMNS];

    broken.fails.store(true, Ordering::Relaxed);
    let error = session.apply(0, [Target::new(LARGE, &mut out)]).unwrap_err();
    assert_eq!((error.kind(), error.system()), (ErrorKind::Io, Some(5)));
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    assert_eq!(source.and_then(io::Error::raw_os_error), Some(5));

    broken.panics.store(true, Ordering::Relaxed);
    let panic =
        catch_unwind(AssertUnwindSafe(|| session.apply(0, [Target::new(LARGE, &mut out)]))).unwrap_err();
    assert!(panic.downcast_ref::<String>().is_some_and(|words| words.starts_with("panicked on")));

    broken.fails.store(false, Ordering::Relaxed);
    broken.panics.store(false, Ordering::Relaxed);
    session.apply(0, [Target::new(LARGE, &mut out)])?; // it stays usable
    assert_eq!(out, weights_of(&bundle, &base, 0, LARGE)?);
    Ok(())
}

#[test]
fn many_sessions_come_and_go() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    for i in 0..200 {
        let options = SessionOptions { resources: Resources::new().threads(1), ..Default::default() };
        let mut session = Session::new(&bundle, Some(&base), options)?;
        let thread = if i % 2 == 0 { Some(session.open_thread()?) } else { None };
        session.apply(i % 2, [Target::new("layer.bias", &mut [0f32; 2])])?;
        drop(session);
        drop(thread);
    }
    Ok(())
}

#[test]
fn modulators_multiply_as_a_session_does() -> emr::Result<()> {
    let (base, bundle) = bundle()?;
    let mut session = Session::new(&bundle, Some(&base), Default::default())?;
    let x = draws(9, 3 * COLUMNS);
    let (mut want, mut got) = (vec![0f32; 3 * ROWS], vec![0f32; 3 * ROWS]);
    session.multiply(&[0, 1, 0], Product::new(LARGE, &x, &mut want))?;
    let (mut french, mut german) = (bundle.task("french")?.modulator()?, bundle.task("german")?.modulator()?);
    let values = base.get(LARGE).unwrap().to_bytes()?;
    let mut multiply = |of: &[usize], product: Product<'_>, base: Option<(Dtype, &[u8])>| {
        emr::Modulator::multiply(&mut [&mut french, &mut german], of, product, base)
    };
    let product = Product::new(LARGE, &x, &mut got).columns(COLUMNS as u64);
    multiply(&[0, 1, 0], product, Some((Dtype::F32, &values)))?;
    assert_eq!(got, want);

    let mut refused = |of: &[usize], product: Product<'_>, base| {
        let error = multiply(of, product, base).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    };
    let columns = COLUMNS as u64;
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; ROWS]), None); // it needs columns
    refused(&[2], Product::new(LARGE, &x, &mut [0.0; ROWS]).columns(columns), None);
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; 3]).columns(columns), None);
    let too_small = Some((Dtype::F32, &values[1..]));
    refused(&[0], Product::new(LARGE, &x, &mut [0.0; ROWS]).columns(columns), too_small);
    let error = multiply(&[0], Product::new("no.such", &x, &mut [0.0; 3]).columns(columns), None);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

//! The host's callbacks: what they fail with comes back as itself, on whatever thread it was; a panic goes on in the
//! caller, and nothing is left half written.

use crate::given::{self, base, model, Folder, COLUMNS, ROWS, SHAPE};
use emr::{
    BoxError, Bundle, Dtype, ErrorKind, Input, Merge, MergeOptions, Model, Output, ReadAt, Resources,
    SinkPart,
};
use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The host's own error.
#[derive(Debug, PartialEq)]
struct Lost(u32);

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "connection {} was lost", self.0)
    }
}

impl Error for Lost {}

/// What a callback does.
#[derive(Clone, Copy, PartialEq)]
enum Act {
    Work,
    Fail,
    Panic,
}

impl Act {
    fn run(self) -> Result<(), Lost> {
        match self {
            Self::Work => Ok(()),
            Self::Fail => Err(Lost(7)),
            Self::Panic => std::panic::panic_any(Lost(8)),
        }
    }

    fn run_io(self) -> io::Result<()> {
        self.run().map_err(|lost| io::Error::new(io::ErrorKind::ConnectionReset, lost))
    }

    /// A call in which a callback did so: an error whose source it is, or its panic.
    fn expect<T>(self, call: impl FnOnce() -> emr::Result<T>) {
        let ended = catch_unwind(AssertUnwindSafe(call));
        match (self, ended) {
            (Self::Fail, Ok(Err(error))) => {
                assert!(error.to_string().contains("connection 7 was lost"), "{error}");
                assert_eq!(innermost(&error), Some(&Lost(7)), "{error:?}");
            }
            (Self::Panic, Err(panic)) => assert_eq!(panic.downcast_ref(), Some(&Lost(8))),
            (Self::Work, Ok(Ok(_))) => {}
            (_, Ok(ended)) => {
                panic!("no panic, but {:?}", ended.map(|_| ()).map_err(|error| error.to_string()))
            }
            (_, Err(_)) => panic!("another panic"),
        }
    }
}

/// The host's error among the sources.
fn innermost<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Lost> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(lost) = inside.and_then(|inside| inside.downcast_ref()).or(error.downcast_ref()) {
            return Some(lost);
        }
        next = error.source();
    }
    None
}

/// Bytes whose readings act, each from number `from` on.
struct Acting {
    bytes: Vec<u8>,
    read: Act,
    len: Act,
    hint: Act,
    from: usize,
    readings: AtomicUsize,
}

impl Acting {
    fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            read: Act::Work,
            len: Act::Work,
            hint: Act::Work,
            from: 0,
            readings: AtomicUsize::new(0),
        }
    }
}

impl ReadAt for Acting {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if self.readings.fetch_add(1, Ordering::Relaxed) >= self.from {
            self.read.run_io()?;
        }
        buffer.copy_from_slice(&self.bytes[offset as usize..][..buffer.len()]);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.len.run_io()?;
        Ok(self.bytes.len() as u64)
    }

    fn will_need(&self, _: u64, _: u64) {
        let _ = self.hint.run();
    }
}

fn resources(threads: u32) -> Resources<'static> {
    Resources::new().threads(threads)
}

#[test]
fn readers_of_bundles() {
    let bytes = given::bundle_bytes();
    for act in [Act::Fail, Act::Panic] {
        let reader = Acting { read: act, ..Acting::new(bytes.clone()) };
        act.expect(|| Bundle::open_input(Input::reader(reader), None));
        let reader = Acting { len: act, ..Acting::new(bytes.clone()) };
        act.expect(|| Bundle::open_input(Input::reader(reader), None));
        for threads in [1, 3] {
            let reader = Acting { read: act, from: 8, ..Acting::new(bytes.clone()) };
            let bundle = Bundle::open_input(Input::reader(reader), None).unwrap();
            act.expect(|| bundle.verify(resources(threads)));
            // It stays usable, and fails in the same way.
            act.expect(|| bundle.base()?.get("w").unwrap().to_bytes());
        }
    }
}

#[test]
fn hints() {
    let mut bytes = Vec::new();
    model("a", 1).write_safetensors(Output::writer(&mut bytes), Default::default()).unwrap();
    let reader = Acting { hint: Act::Panic, ..Acting::new(bytes) };
    let opened = Model::open_safetensors(Input::reader(reader), "a", Default::default()).unwrap();
    let mut copy = Vec::new();
    Act::Panic.expect(|| opened.write_safetensors(Output::writer(&mut copy), Default::default()));
}

/// A merge of "french", whose weights act from element 40,000 on.
fn acting_merge<'a>(act: Act, options: MergeOptions<'a>) -> Merge<'a> {
    let mut builder = Model::builder("fr").unwrap();
    builder
        .add_computed("w", Dtype::F32, &SHAPE, move |asked| {
            if asked.first >= 40_000 {
                act.run()?;
            }
            asked.out.fill(0);
            Ok(())
        })
        .unwrap();
    builder.add_tensor(&model("fr", 2), "b").unwrap();
    let mut merge = Merge::new(options).unwrap();
    merge.set_base(&base()).unwrap();
    merge.add_task("french", &builder.build()).unwrap();
    merge
}

#[test]
fn computed_tensors() {
    for act in [Act::Fail, Act::Panic] {
        for threads in [1, 3] {
            let folder = Folder::new();
            let options = MergeOptions { resources: resources(threads), ..Default::default() };
            act.expect(|| acting_merge(act, options).run(Output::file(folder.path("all.emr"))));
            assert_eq!(folder.names(), [] as [&str; 0]);
        }
    }
    let options = MergeOptions { resources: resources(3), ..Default::default() };
    let error = acting_merge(Act::Fail, options).run(Output::writer(io::sink())).unwrap_err();
    assert_eq!((error.kind(), error.tensor()), (ErrorKind::Io, Some("w")));
    assert_eq!(error.source().unwrap().downcast_ref(), Some(&Lost(7)));
}

#[test]
fn computed_tensors_of_computed_tensors() {
    for act in [Act::Fail, Act::Panic] {
        let mut builder = Model::builder("inner").unwrap();
        builder.add_computed("w", Dtype::F32, &[100], move |_| Ok(act.run()?)).unwrap();
        let inner = builder.build();
        let mut builder = Model::builder("outer").unwrap();
        builder
            .add_computed("w", Dtype::F32, &[100], move |asked| {
                let offset = asked.first * 4;
                Ok(inner.get("w").unwrap().read(offset, asked.out)?)
            })
            .unwrap();
        let outer = builder.build();
        act.expect(|| outer.get("w").unwrap().to_floats());
        act.expect(|| outer.write(Folder::new().path("m.safetensors"), Default::default()));
    }
}

#[test]
fn preparing() {
    for act in [Act::Fail, Act::Panic] {
        let options =
            emr::ModelOptions { prepare: Some(Box::new(move |_| Ok(act.run()?))), ..Default::default() };
        let mut builder = emr::ModelBuilder::with_options("mine", options).unwrap();
        builder.add_computed("w", Dtype::U8, &[1], given::fill(0)).unwrap();
        let model = builder.build();
        act.expect(|| model.prepare(resources(3)));
        assert_eq!(model.get("w").unwrap().to_bytes().unwrap(), [0]);
    }
}

struct ActingWriter {
    write: Act,
    flush: Act,
}

impl Write for ActingWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.write.run_io()?;
        Ok(buffer.len().min(1000)) // a part, as sockets do
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flush.run_io()
    }
}

#[test]
fn writers() {
    let bundle = given::bundle();
    for act in [Act::Work, Act::Fail, Act::Panic] {
        for threads in [1, 3] {
            for flush in [false, true] {
                let writer = || {
                    let (write, flush) = if flush { (Act::Work, act) } else { (act, Act::Work) };
                    Output::writer(ActingWriter { write, flush })
                };
                let options = MergeOptions { resources: resources(threads), ..Default::default() };
                act.expect(|| given::merge(&base(), options).run(writer()));
                act.expect(|| bundle.drop_tasks(&["french"], writer(), resources(threads)));
                act.expect(|| model("a", 1).write_safetensors(writer(), Default::default()));
            }
        }
    }
}

#[test]
fn progress() {
    for threads in [1, 3] {
        let folder = Folder::new();
        let run = |end: fn() -> ControlFlow<()>| {
            let resources = resources(threads).progress(move |_| end());
            let options = MergeOptions { resources, ..Default::default() };
            given::merge(&base(), options).run(Output::file(folder.path("all.emr")))
        };
        let error = run(|| ControlFlow::Break(())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Canceled);
        Act::Panic.expect(|| run(|| std::panic::panic_any(Lost(8))));
        assert_eq!(folder.names(), [] as [&str; 0]);
        run(|| ControlFlow::Continue(())).unwrap();
    }
}

#[test]
fn progress_counts_up_on_the_calling_thread() {
    let caller = std::thread::current().id();
    let mut seen = Vec::new();
    let resources = resources(3).progress(|progress| {
        assert_eq!(std::thread::current().id(), caller);
        seen.push(progress);
        ControlFlow::Continue(())
    });
    given::merge(&base(), MergeOptions { resources, ..Default::default() })
        .run(Output::writer(io::sink()))
        .unwrap();
    let last = seen.last().unwrap();
    assert!(last.done == last.total && last.total >= 3 * (ROWS * COLUMNS * 4) as u64);
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done));
}

struct ActingSink {
    unified: Act,
    mask: Act,
    rescalers: Act,
}

impl emr::Sink for ActingSink {
    fn unified(&mut self, _: SinkPart, _: &[u8]) -> Result<(), BoxError> {
        Ok(self.unified.run()?)
    }

    fn mask(&mut self, _: u32, _: SinkPart, _: &[u8]) -> Result<(), BoxError> {
        Ok(self.mask.run()?)
    }

    fn rescalers(&mut self, _: u32, _: SinkPart, _: &[f32]) -> Result<(), BoxError> {
        Ok(self.rescalers.run()?)
    }
}

#[test]
fn sinks() {
    for act in [Act::Work, Act::Fail, Act::Panic] {
        for threads in [1, 3] {
            for part in 0..3 {
                let of = |number| if part == number { act } else { Act::Work };
                let mut sink = ActingSink { unified: of(0), mask: of(1), rescalers: of(2) };
                let options = MergeOptions {
                    resources: resources(threads),
                    rescale_per: emr::RescalePer::Row,
                    ..Default::default()
                };
                act.expect(|| given::merge(&base(), options).run_into(&mut sink));
            }
        }
    }
}

/// Threads that do their work in part, more than once, or panic.
struct Careless(u32);

impl emr::Executor for Careless {
    fn concurrency(&self) -> NonZeroU32 {
        NonZeroU32::new(3).unwrap()
    }

    fn parallel_for(&self, n: usize, work: &(dyn Fn(usize) + Sync)) {
        match self.0 {
            0 => {}
            1 => std::thread::scope(|scope| {
                for i in (0..n + 2).chain(0..n) {
                    scope.spawn(move || work(i));
                }
            }),
            _ => {
                work(0);
                std::panic::panic_any(Lost(8));
            }
        }
    }
}

#[test]
fn executors_need_not_be_trusted() {
    let expected = {
        let mut bytes = Vec::new();
        let options = MergeOptions { resources: resources(1), ..Default::default() };
        given::merge(&base(), options).run(Output::writer(&mut bytes)).unwrap();
        bytes
    };
    for careless in 0..2 {
        let mut bytes = Vec::new();
        let options =
            MergeOptions { resources: Resources::new().executor(Careless(careless)), ..Default::default() };
        given::merge(&base(), options).run(Output::writer(&mut bytes)).unwrap();
        assert_eq!(bytes, expected);
    }
    let options = MergeOptions { resources: Resources::new().executor(Careless(2)), ..Default::default() };
    Act::Panic.expect(|| given::merge(&base(), options).run(Output::writer(io::sink())));
}

#[test]
fn panics_on_the_threads_of_a_hosts_executor() {
    struct Others;
    impl emr::Executor for Others {
        fn concurrency(&self) -> NonZeroU32 {
            NonZeroU32::new(2).unwrap()
        }
        fn parallel_for(&self, n: usize, work: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| {
                for i in 0..n {
                    scope.spawn(move || work(i));
                }
            });
        }
    }
    for act in [Act::Fail, Act::Panic] {
        let options = MergeOptions { resources: Resources::new().executor(Others), ..Default::default() };
        act.expect(|| acting_merge(act, options).run(Output::writer(io::sink())));
    }
}

#[test]
fn an_error_of_a_kind_keeps_it() {
    for kind in [ErrorKind::OutOfMemory, ErrorKind::Canceled] {
        let mut builder = Model::builder("mine").unwrap();
        let fail = move |_: emr::Computation<'_>| Err(emr::Error::new(kind, "no more of it").into());
        builder.add_computed("w", Dtype::U8, &[1], fail).unwrap();
        let error = builder.build().get("w").unwrap().to_bytes().unwrap_err();
        assert_eq!(error.kind(), kind);
        let source = error.source().unwrap().downcast_ref::<emr::Error>().unwrap();
        assert_eq!(source.message(), "no more of it");
        assert!(io::Error::from(error).get_ref().is_some());
    }
}

#[test]
fn an_error_whose_number_is_no_failure_is_one_all_the_same() {
    for number in [0, 7] {
        let mut builder = Model::builder("odd").unwrap();
        let fail = move |_: emr::Computation<'_>| -> Result<(), BoxError> {
            Err(emr::Error::new(ErrorKind::Unknown(number), "no").into())
        };
        builder.add_computed("w", Dtype::F32, &[4], fail).unwrap();
        let error = builder.build().get("w").unwrap().to_floats().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        let source: &emr::Error = error.source().unwrap().downcast_ref().unwrap();
        assert_eq!(source.kind(), ErrorKind::Unknown(number));
    }
}

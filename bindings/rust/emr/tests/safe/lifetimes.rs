//! Objects keep what they need: they may be dropped in any order.

use crate::given::{self, base, is_same, model};
use emr::{Bundle, Input, Merge, Model, Output, Pool, ReadAt, Resources};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

#[test]
fn a_tasks_model_keeps_bundle_and_base() {
    let bytes = given::bundle_bytes();
    let expected = {
        let bundle = Bundle::open_input(&bytes[..], None).unwrap();
        bundle.task("french").unwrap().open(None).unwrap().get("w").unwrap().to_bytes().unwrap()
    };
    let model = {
        let base = base();
        let bundle = Bundle::open_input(&bytes[..], None).unwrap();
        let task = bundle.task("french").unwrap();
        drop(bundle);
        task.open(Some(&base)).unwrap()
    };
    assert_eq!(model.get("w").unwrap().to_bytes().unwrap(), expected);
    let mut modulator = {
        let bundle = Bundle::open_input(&bytes[..], None).unwrap();
        bundle.task("french").unwrap().modulator().unwrap()
    };
    assert_eq!(modulator.stats(0).unwrap().count, 96 * 700);
}

#[test]
fn every_order_of_dropping_is_fine() {
    let bytes = given::bundle_bytes();
    for order in permutations(5) {
        let base = base();
        let bundle = Bundle::open_input(bytes.clone(), None).unwrap();
        let task = bundle.task("german").unwrap();
        let opened = task.open(Some(&base)).unwrap();
        let renamed = opened.renamed(&[("w", "weight")]).unwrap();
        let mut base = Some(base);
        let mut bundle = Some(bundle);
        let mut task = Some(task);
        let mut opened = Some(opened);
        let mut renamed = Some(renamed);
        for which in order {
            match which {
                0 => drop(base.take()),
                1 => drop(bundle.take()),
                2 => drop(task.take()),
                3 => drop(opened.take()),
                _ => drop(renamed.take()),
            }
            for model in [&base, &opened, &renamed].into_iter().flatten() {
                model.tensor(0).unwrap().to_bytes().unwrap();
            }
        }
    }
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let longer = |shorter: Vec<usize>| {
        (0..n).map(move |place| {
            let mut one = shorter.clone();
            one.insert(place, n - 1);
            one
        })
    };
    permutations(n - 1).into_iter().flat_map(longer).collect()
}

#[test]
fn a_merge_keeps_its_models() {
    let merge = {
        let mut merge = Merge::new(Default::default()).unwrap();
        merge.set_base(&model("base", 1)).unwrap();
        merge.add_task("french", &model("fr", 2)).unwrap();
        merge
    };
    let (bytes, _) = merge.run_in_memory().unwrap();
    let bundle = Bundle::open_input(bytes, None).unwrap();
    bundle.verify(Resources::new()).unwrap();
}

/// A reader that counts how many there are.
struct Counted(Vec<u8>, Arc<AtomicUsize>);

impl Counted {
    fn new(bytes: Vec<u8>, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Ordering::Relaxed);
        Self(bytes, Arc::clone(alive))
    }
}

impl ReadAt for Counted {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn as_slice(&self) -> Option<&[u8]> {
        Some(&self.0)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn the_hosts_objects_go_with_the_last_that_needs_them() {
    let alive = Arc::new(AtomicUsize::new(0));
    let reader = Counted::new(given::bundle_bytes(), &alive);
    let bundle = Bundle::open_input(Input::reader(reader), None).unwrap();
    let base = bundle.base().unwrap();
    let copy = base.clone();
    drop((bundle, base));
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    drop(copy);
    assert_eq!(alive.load(Ordering::Relaxed), 0);

    let reader = Counted::new(b"no bundle".to_vec(), &alive);
    assert!(Bundle::open_input(Input::reader(reader), None).is_err());
    assert_eq!(alive.load(Ordering::Relaxed), 0);

    let held = Counted::new(Vec::new(), &alive);
    let mut builder = Model::builder("mine").unwrap();
    builder
        .add_computed("w", emr::Dtype::U8, &[1], move |asked| {
            let _ = &held;
            asked.out.fill(9);
            Ok(())
        })
        .unwrap();
    let refused = Counted::new(Vec::new(), &alive);
    let taken = builder.add_computed("w", emr::Dtype::U8, &[1], move |_| {
        let _ = &refused;
        Ok(())
    });
    assert!(taken.is_err());
    assert_eq!(alive.load(Ordering::Relaxed), 1);
    drop(builder.build());
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}

#[test]
fn a_pool_lives_as_long_as_its_users() {
    let pool = Pool::new(3).unwrap();
    assert_eq!(pool.concurrency(), 3);
    let options = emr::MergeOptions { resources: Resources::new().pool(&pool), ..Default::default() };
    let merge = given::merge(&base(), options);
    drop(pool);
    merge.run(Output::writer(io::sink())).unwrap();
    assert!(Pool::new(5000).is_err());
}

#[test]
fn many_are_opened_and_closed() {
    let bytes = given::bundle_bytes();
    let expected = given::bundle().base().unwrap();
    for _ in 0..50 {
        let bundle = Bundle::open_input(&bytes[..], Some("again")).unwrap();
        let base = bundle.base().unwrap();
        assert!(is_same(&base, &expected));
        for task in bundle.tasks() {
            task.open(Some(&base)).unwrap().get("b").unwrap().to_bytes().unwrap();
            task.mask().unwrap().get("b").unwrap().to_bytes().unwrap();
        }
        assert!(bundle.task("klingon").is_err());
    }
}

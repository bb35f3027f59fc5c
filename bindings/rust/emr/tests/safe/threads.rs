//! Which objects go to other threads, and which are shared: as the C contract has it.

use crate::given::{self, is_same};
use emr::{
    Buffer, Bundle, Error, File, Input, Merge, Model, ModelBuilder, Modulator, Output, Pool, Push, Resources,
    Task, Tensor,
};

const fn is_send<T: Send>() {}
const fn is_sync<T: Sync>() {}

/// What changes nothing is shared; what is used by one thread at a time goes from one to the other.
const _: () = {
    is_send::<Bundle<'static>>();
    is_sync::<Bundle<'static>>();
    is_send::<Task<'static>>();
    is_sync::<Task<'static>>();
    is_send::<Model<'static>>();
    is_sync::<Model<'static>>();
    is_send::<Tensor<'static>>();
    is_sync::<Tensor<'static>>();
    is_send::<Pool>();
    is_sync::<Pool>();
    is_send::<File>();
    is_sync::<File>();
    is_send::<Buffer>();
    is_sync::<Buffer>();
    is_send::<Error>();
    is_sync::<Error>();
    is_send::<Merge<'static>>();
    is_send::<Push<'static>>();
    is_send::<Modulator<'static>>();
    is_send::<ModelBuilder<'static>>();
    is_send::<Resources<'static>>();
    is_send::<Output<'static>>();
    is_send::<Input<'static>>();
};

/// Compiles only if T is not Sync: else two of these fit.
trait OnlyIfNotSync<A> {
    fn here() {}
}
impl<T: ?Sized> OnlyIfNotSync<()> for T {}
impl<T: ?Sized + Sync> OnlyIfNotSync<u8> for T {}

#[test]
fn what_one_thread_uses_at_a_time_is_not_shared() {
    <Merge<'static> as OnlyIfNotSync<_>>::here();
    <Push<'static> as OnlyIfNotSync<_>>::here();
    <Modulator<'static> as OnlyIfNotSync<_>>::here();
    <ModelBuilder<'static> as OnlyIfNotSync<_>>::here();
}

#[test]
fn lifetimes_may_be_shortened() {
    fn shorter<'s>(model: Model<'static>, bundle: Bundle<'static>, _: &'s str) -> (Model<'s>, Bundle<'s>) {
        (model, bundle)
    }
    let text = String::from("x");
    let (model, bundle) = shorter(given::base(), given::bundle(), &text);
    bundle.check_base(&model, Resources::new()).unwrap();
}

#[test]
fn a_bundle_is_read_by_many_threads() {
    let bundle = given::bundle();
    let expected: Vec<Model<'_>> = bundle.tasks().map(|task| task.open(None).unwrap()).collect();
    std::thread::scope(|scope| {
        for i in 0..6 {
            let (bundle, expected) = (&bundle, &expected[i % 2]);
            scope.spawn(move || {
                let task = bundle.task(["french", "german"][i % 2]).unwrap();
                assert!(is_same(&task.open(None).unwrap(), expected));
            });
        }
    });
}

#[test]
fn calls_at_the_same_time_share_a_pool() {
    let pool = Pool::new(3).unwrap();
    let bundle = given::bundle();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| bundle.verify(Resources::new().pool(&pool)).unwrap());
        }
    });
}

#[test]
fn a_merge_goes_to_another_thread() {
    let merge = given::merge(&given::base(), Default::default());
    let bytes = std::thread::spawn(move || merge.run_in_memory().unwrap().0).join().unwrap();
    assert_eq!(Bundle::open_input(bytes, None).unwrap().tasks().len(), 2);
}

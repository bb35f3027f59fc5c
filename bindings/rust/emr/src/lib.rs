//! Many fine-tuned models in one bundle: merge, apply, combine and serve them.
//!
//! - Objects own what they need: a task's model keeps its bundle and its base, a merge its models. They may be dropped in
//!   any order. What is borrowed from the host (slices, readers, closures) is borrowed as long as the lifetime `'a` of the
//!   object says; objects over files are `'static`.
//! - Calls fail with an [`Error`]: the library's sentence, its kind, and the file, task and tensor that it names.
//! - Callbacks are closures and traits. What they fail with is the [`source`](std::error::Error::source) of the call's
//!   error; a panic in one stops the call and goes on in the caller, also where it was on another thread.
//! - Long calls take [`Resources`]: threads, memory, progress. By default they use all processors.
//! - Options are structs with public members: write `..Default::default()` behind those that you set.
//! - Tasks are numbered from 0 as in C; [`BASE`] is the base where a task's number is expected.
#![deny(missing_docs)]

mod adapter;
mod blocks;
mod builder;
mod bundle;
mod call;
mod checkpoint;
mod combine;
mod dtype;
mod elementary;
mod error;
mod file;
mod handle;
mod heads;
mod input;
mod merge;
mod merging_method;
mod method;
mod model;
mod modulation;
mod modulator;
mod numbered;
mod output;
mod own_method;
mod policy;
mod product;
mod resources;
mod search;
mod session;
mod statistics;
mod tensor;
mod text;
mod version;

pub use adapter::{adapter_rank_dimension, adapters_agree, ADAPTER_CONFIG};
pub use blocks::{dequantise, quantise, BlockType, BLOCK_VALUES};
pub use builder::{Chunks, Computation, InputId, ModelBuilder, ModelOptions, PrepareFn};
pub use bundle::{
    BaseCheck, BaseDifference, Bundle, BundleInfo, DropReport, PrivateInfo, Task, TaskInfo, TensorInfo,
    ViewOptions,
};
pub use checkpoint::{ReadOptions, WriteOptions, FILE_PREFIX, GGUF_HEADER};
pub use combine::{
    Combination, CombinationNonfinite, CombinationOptions, CombinationPlan, CombinedAction, CombinedTensor,
    EVERY_TASK,
};
pub use dtype::{as_bytes, as_bytes_mut, convert, Dtype, Element};
pub use elementary::{exp, ln};
pub use error::{BoxError, Error, ErrorKind, Result};
pub use file::{Buffer, File};
pub use heads::{group_softmax, group_softmax_in_place, HeadGroup, HeadKind, Heads, HEAD_GROUPS};
pub use input::{Input, ReadAt};
pub use merge::{
    Action, Compression, Expected, Merge, MergeOptions, MergeReport, OnNonfinite, Plan, PlanTensor, Push,
    Sink, SinkPart, TaskReport, Tie,
};
pub use merging_method::{Chunk, Cut, MergingMethod, MethodTensor, Number, Stage, STAGES_MAX};
pub use method::{Method, MethodBase, MethodInfo, Parameter};
pub use model::{Model, Tensors};
pub use modulation::{Fidelity, MaskRule, Modulation, ModulatorKind, Rescale, RescalePer};
pub use modulator::{Application, Codes, Modulator, ModulatorStats};
pub use output::Output;
pub use policy::{glob_matches, OnMismatch, OnMissing, Policy};
pub use product::{Product, Which};
pub use resources::{Executor, Pool, Progress, Resources};
pub use search::{
    trial_draw, trials_run, Candidate, Partner, PartnerPool, Search, SearchEnd, SearchHost, SearchOptions,
    SearchResult, Trial, TrialsOptions,
};
pub use session::{Gather, Session, SessionInfo, SessionOptions, Target, WaitFn, WeightsPart};
pub use statistics::{
    kind_of, kinship, layer_of, Kinship, KinshipMetric, KinshipOptions, Statistics, StatisticsGroup,
    StatisticsOptions, StatisticsPlan, StatisticsRounding, StatisticsScope, TaskMoments,
};
pub use tensor::{Format, Role, Tensor, TensorRole};
pub use version::{features, version, version_number, Features};

/// Stands for the base wherever a task's number is expected.
pub const BASE: u32 = emr_sys::EMR_BASE;

/// The example of the README, which is to compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

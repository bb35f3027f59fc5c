//! Looking for the best merge: greedy merging that is guided by kinship, and trials with parameters drawn at
//! random. Both only decide what to try: the program merges, scores and compares models.

use crate::call::{call, callback, callback_infallible, filled};
use crate::error::{BoxError, Result};
use crate::handle::{raw, Concurrent, Handle};
use crate::input::slice;
use crate::numbered::numbered;
use crate::text::{c_string, text};
use emr_sys as c;
use std::ffi::c_void;
use std::fmt;

raw!(emr_search, emr_search_destroy);
// SAFETY: calls that take it as const only look; all others take it exclusively.
unsafe impl Concurrent for c::emr_search {}

numbered! {
    /// Which model the best one is merged with, beside the pairs of the best.
    #[derive(Default)]
    pub enum Partner {
        /// The least similar one.
        #[default]
        Lowest = EMR_SEARCH_PARTNER_LOWEST,
        /// The most similar one.
        Highest = EMR_SEARCH_PARTNER_HIGHEST,
        /// None.
        None = EMR_SEARCH_PARTNER_NONE,
    }
}

numbered! {
    /// Where that one is taken from.
    #[derive(Default)]
    pub enum PartnerPool {
        /// All models so far.
        #[default]
        All = EMR_SEARCH_POOL_ALL,
        /// The best.
        Top = EMR_SEARCH_POOL_TOP,
        /// The generation before.
        Last = EMR_SEARCH_POOL_LAST,
    }
}

/// How a [`Search`] goes. Zeros are defaults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SearchOptions {
    /// The mean similarity of pairs of the best above which the search ends; the paper's is 0.9.
    pub stop_kinship: Option<f64>,
    /// How many of the best are merged with each other; 0: 3.
    pub k: u32,
    /// Which model the best one is merged with too.
    pub partner: Partner,
    /// Where that one is taken from.
    pub pool: PartnerPool,
    /// 0: 20.
    pub max_generations: u32,
    /// The lowest score is the best.
    pub minimise: bool,
}

numbered! {
    /// Why a search ended.
    pub enum SearchEnd {
        /// A generation left the best as they were.
        Steady = EMR_SEARCH_END_STEADY,
        /// The best are more alike than [`SearchOptions::stop_kinship`].
        Kinship = EMR_SEARCH_END_KINSHIP,
        /// [`SearchOptions::max_generations`].
        Generations = EMR_SEARCH_END_GENERATIONS,
    }
}

/// A model of a search.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Candidate<'s> {
    /// As it was added; `"2-3"`, the third pair of generation 2; `"2-exp"`, made with a partner.
    pub name: &'s str,
    /// None: it has none.
    pub score: Option<f64>,
    /// Of the two that it is made of, where it is known.
    pub kinship: Option<f64>,
    /// In the order in which they came; first those that were added.
    pub number: u32,
    /// 0: it was added.
    pub generation: u32,
    /// The numbers of the two that it is made of; none: it was added.
    pub parents: Option<(u32, u32)>,
    search: &'s c::emr_search,
}

impl<'s> Candidate<'s> {
    /// # Safety
    /// A struct that C filled, whose texts are of a search that lives as long as `'s`.
    unsafe fn new(raw: &c::emr_search_candidate, search: &'s c::emr_search) -> Self {
        Self {
            // SAFETY: the caller's.
            name: unsafe { text(raw.name) },
            score: (!raw.score.is_nan()).then_some(raw.score),
            kinship: (!raw.kinship.is_nan()).then_some(raw.kinship),
            number: raw.number,
            generation: raw.generation,
            parents: (raw.first != c::EMR_SEARCH_NO_MODEL).then_some((raw.first, raw.second)),
            search,
        }
    }

    /// Another model of the same search: one of its [`parents`](Self::parents), say.
    pub fn other(&self, number: u32) -> Result<Candidate<'s>> {
        find_candidate(self.search, number)
    }
}

impl fmt::Debug for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate")
            .field("name", &self.name)
            .field("score", &self.score)
            .field("kinship", &self.kinship)
            .field("number", &self.number)
            .field("parents", &self.parents)
            .finish_non_exhaustive()
    }
}

fn find_candidate(search: &c::emr_search, number: u32) -> Result<Candidate<'_>> {
    // SAFETY: filled by the call; texts are the search's.
    let raw: c::emr_search_candidate =
        filled(|candidate| unsafe { c::emr_search_get_candidate(search, number, candidate) })?;
    // SAFETY: likewise.
    Ok(unsafe { Candidate::new(&raw, search) })
}

/// What a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SearchResult {
    /// Of the best.
    pub score: f64,
    /// Mean of pairs of the best, as far as it is known.
    pub kinship: Option<f64>,
    /// Number of the best.
    pub best: u32,
    /// The candidates' numbers are less.
    pub n_models: u32,
    /// Models with a score.
    pub n_scored: u32,
    /// The last one, from 1.
    pub generation: u32,
    /// Why it ended there.
    pub end: SearchEnd,
}

/// Who merges and scores: called in the thread of [`Search::run`]. What it fails with is the
/// [`source`](std::error::Error::source) of the search's error.
pub trait SearchHost {
    /// Makes a model of its two parents.
    fn merge(&mut self, candidate: &Candidate<'_>) -> std::result::Result<(), BoxError>;

    /// Its score. NaN or an infinity: it has none and is out.
    fn evaluate(&mut self, candidate: &Candidate<'_>) -> std::result::Result<f64, BoxError>;

    /// How alike two models are: more is more. Asked for once a pair, `a < b`. NaN: it is not known.
    fn similarity(&mut self, _a: u32, _b: u32) -> std::result::Result<f64, BoxError> {
        Ok(f64::NAN)
    }

    /// A merged model that the search will not ask about again.
    fn release(&mut self, _number: u32) {}
}

/// Greedy merging that is guided by kinship (Hu and others, 2024, arXiv 2410.12613, Algorithm 1).
///
/// ```
/// use emr::Candidate;
///
/// struct Numbers(Vec<f64>);
/// impl emr::SearchHost for Numbers {
///     fn merge(&mut self, candidate: &Candidate<'_>) -> Result<(), emr::BoxError> {
///         let (a, b) = candidate.parents.expect("it is merged");
///         self.0.push((self.0[a as usize] + self.0[b as usize]) / 2.0);
///         Ok(())
///     }
///     fn evaluate(&mut self, candidate: &Candidate<'_>) -> Result<f64, emr::BoxError> {
///         Ok(-(self.0[candidate.number as usize] - 0.5).abs())
///     }
/// }
///
/// # fn main() -> emr::Result<()> {
/// let mut search = emr::Search::new(&emr::SearchOptions::default())?;
/// search.add_model("math")?;
/// search.add_model("code")?;
/// let result = search.run(&mut Numbers(vec![0.0, 1.0]))?;
/// assert_eq!(search.candidate(result.best)?.name, "1-1");
/// # Ok(())
/// # }
/// ```
pub struct Search(Handle<c::emr_search>);

impl Search {
    /// A search of no models yet.
    pub fn new(options: &SearchOptions) -> Result<Self> {
        let raw = c::emr_search_options {
            stop_kinship: options.stop_kinship.unwrap_or(0.0),
            use_stop_kinship: options.stop_kinship.is_some().into(),
            k: options.k,
            partner: options.partner.raw(),
            pool: options.pool.raw(),
            max_generations: options.max_generations,
            minimise: options.minimise.into(),
            ..Default::default()
        };
        // SAFETY: options are copied.
        Ok(Self(Handle::make(|out, error| unsafe { c::emr_search_create(out, &raw, error) })?))
    }

    /// A model that is there. Names are unique, and none that the search gives itself.
    pub fn add_model(&mut self, name: &str) -> Result<()> {
        let name = c_string(name)?;
        // SAFETY: the name is copied.
        call(|error| unsafe { c::emr_search_add_model(self.0.get(), name.as_ptr(), error) })
    }

    /// Scores the models that were added and merges each pair of them; then, generation for generation, each
    /// pair of the best, and the best with its partner; until there is a reason to end. A search runs once.
    pub fn run<H: SearchHost>(&mut self, host: &mut H) -> Result<SearchResult> {
        let mut running = Running { host, search: self.0.get() };
        let raw_host = c::emr_search_host {
            user: (&mut running as *mut Running<'_, H>).cast(),
            merge: Some(merge::<H>),
            evaluate: Some(evaluate::<H>),
            similarity: Some(similarity::<H>),
            release: Some(release::<H>),
            ..Default::default()
        };
        // SAFETY: the host is called during the call alone, by this thread.
        call(|error| unsafe { c::emr_search_run(self.0.get(), &raw_host, error) })?;
        self.result()
    }

    /// The model of that number.
    pub fn candidate(&self, number: u32) -> Result<Candidate<'_>> {
        // SAFETY: the handle's, which lives as long as `self`.
        find_candidate(unsafe { &*self.0.get() }, number)
    }

    /// All models so far.
    pub fn candidates(&self) -> impl Iterator<Item = Candidate<'_>> {
        (0..).map_while(|number| self.candidate(number).ok())
    }

    /// What it found, once it has run.
    pub fn result(&self) -> Result<SearchResult> {
        // SAFETY: filled by the call.
        let raw: c::emr_search_result =
            filled(|result| unsafe { c::emr_search_get_result(self.0.get(), result) })?;
        Ok(SearchResult {
            score: raw.score,
            kinship: (!raw.kinship.is_nan()).then_some(raw.kinship),
            best: raw.best,
            n_models: raw.n_models,
            n_scored: raw.n_scored,
            generation: raw.generation,
            end: SearchEnd::of(raw.end),
        })
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.candidates()).finish()
    }
}

/// What callbacks of a search are given.
struct Running<'h, H> {
    host: &'h mut H,
    search: *const c::emr_search,
}

unsafe extern "C" fn merge<H: SearchHost>(
    user: *mut c_void,
    candidate: *const c::emr_search_candidate,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: the user that `run` set, by one thread at a time; the candidate of its search.
        unsafe {
            let running = &mut *user.cast::<Running<'_, H>>();
            running.host.merge(&Candidate::new(&*candidate, &*running.search))
        }
    })
}

unsafe extern "C" fn evaluate<H: SearchHost>(
    user: *mut c_void,
    candidate: *const c::emr_search_candidate,
    score: *mut f64,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: as above; `score` is an output.
        unsafe {
            let running = &mut *user.cast::<Running<'_, H>>();
            *score = running.host.evaluate(&Candidate::new(&*candidate, &*running.search))?;
        }
        Ok(())
    })
}

unsafe extern "C" fn similarity<H: SearchHost>(
    user: *mut c_void,
    a: u32,
    b: u32,
    similarity: *mut f64,
    error: *mut c::emr_error,
) -> c::emr_status {
    callback(error, || {
        // SAFETY: as above.
        unsafe { *similarity = (*user.cast::<Running<'_, H>>()).host.similarity(a, b)? };
        Ok(())
    })
}

unsafe extern "C" fn release<H: SearchHost>(user: *mut c_void, number: u32) {
    callback_infallible((), || {
        // SAFETY: as above.
        unsafe { (*user.cast::<Running<'_, H>>()).host.release(number) }
    });
}

/// What [`trials_run`] tries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrialsOptions {
    /// Of the values.
    pub seed: u64,
    /// 0: 500.
    pub n_trials: u32,
    /// Of each trial: parameters times models, say.
    pub n_values: u32,
    /// The lowest score is the best.
    pub minimise: bool,
}

/// A trial with its score.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Trial {
    /// From 1.
    pub number: u32,
    /// What `evaluate` gave.
    pub score: f64,
    /// Its values, in (0, 1].
    pub values: Vec<f64>,
}

/// The values of a trial, as many as there is room for: uniform in (0, 1]. They depend on seed and number
/// alone.
pub fn trial_draw(seed: u64, number: u32, values: &mut [f64]) {
    // SAFETY: there is room for them.
    unsafe { c::emr_trial_draw(seed, number, values.len(), values.as_mut_ptr()) }
}

/// Tries values for parameters, from trial number 1 on, and gives the best trial; of equal scores the first.
/// `evaluate` makes a model with the values of a trial and scores it; NaN or an infinity: it has no score.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// let options = emr::TrialsOptions { n_trials: 100, n_values: 1, ..Default::default() };
/// let best = emr::trials_run(&options, |_number, values| Ok(-(values[0] - 0.5).abs()))?;
/// assert!((best.values[0] - 0.5).abs() < 0.1);
/// # Ok(())
/// # }
/// ```
pub fn trials_run<F>(options: &TrialsOptions, mut evaluate: F) -> Result<Trial>
where
    F: FnMut(u32, &[f64]) -> std::result::Result<f64, BoxError>,
{
    let raw = c::emr_trials_options {
        user: (&mut evaluate as *mut F).cast(),
        evaluate: Some(evaluate_trial::<F>),
        seed: options.seed,
        n_trials: options.n_trials,
        n_values: options.n_values,
        minimise: options.minimise.into(),
        ..Default::default()
    };
    let mut best = c::emr_trial::default();
    // SAFETY: the function is called during the call alone, by this thread.
    call(|error| unsafe { c::emr_trials_run(&raw, &mut best, error) })?;
    let mut values = vec![0.0; best.n_values as usize];
    trial_draw(options.seed, best.number, &mut values);
    Ok(Trial { number: best.number, score: best.score, values })
}

unsafe extern "C" fn evaluate_trial<F>(
    user: *mut c_void,
    trial: *const c::emr_trial,
    score: *mut f64,
    error: *mut c::emr_error,
) -> c::emr_status
where
    F: FnMut(u32, &[f64]) -> std::result::Result<f64, BoxError>,
{
    callback(error, || {
        // SAFETY: the user that `trials_run` set, by one thread at a time; the trial's values; an output.
        unsafe {
            let values = slice((*trial).values, (*trial).n_values as usize);
            *score = (*user.cast::<F>())((*trial).number, values)?;
        }
        Ok(())
    })
}

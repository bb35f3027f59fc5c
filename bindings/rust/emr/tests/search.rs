//! Searches and trials.

use emr::{Candidate, ErrorKind, Partner, Search, SearchEnd, SearchHost, SearchOptions, TrialsOptions};
use std::error::Error as StdError;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Models are numbers, a merge is their mean, and the best is the nearest to 0.3.
#[derive(Default)]
struct Numbers {
    values: Vec<f64>,
    made: Vec<String>,
    released: Vec<u32>,
    fails_at: Option<&'static str>,
    panics_in: Option<&'static str>,
    panics: u32,
}

impl Numbers {
    fn new(values: &[f64]) -> Self {
        Self { values: values.to_vec(), ..Self::default() }
    }

    fn panic_in(&mut self, place: &str) {
        assert_eq!(self.panics, 0);
        if self.panics_in == Some(place) {
            self.panics += 1;
            panic!("in {place}");
        }
    }

    fn reach(&mut self, place: &str) -> Result<(), emr::BoxError> {
        self.panic_in(place);
        match self.fails_at {
            Some(at) if at == place => Err(std::io::Error::other(format!("{place} did not work")).into()),
            _ => Ok(()),
        }
    }
}

impl SearchHost for Numbers {
    fn merge(&mut self, candidate: &Candidate<'_>) -> Result<(), emr::BoxError> {
        self.reach("merge")?;
        let (a, b) = candidate.parents.expect("it has two");
        self.made.push(format!("{}+{}", candidate.other(a)?.name, candidate.other(b)?.name));
        assert_eq!(candidate.number as usize, self.values.len());
        self.values.push((self.values[a as usize] + self.values[b as usize]) / 2.0);
        Ok(())
    }
    fn evaluate(&mut self, candidate: &Candidate<'_>) -> Result<f64, emr::BoxError> {
        self.reach("evaluate")?;
        Ok(-(self.values[candidate.number as usize] - 0.3).abs())
    }
    fn similarity(&mut self, a: u32, b: u32) -> Result<f64, emr::BoxError> {
        self.reach("similarity")?;
        assert!(a < b);
        Ok(1.0 - (self.values[a as usize] - self.values[b as usize]).abs())
    }
    fn release(&mut self, number: u32) {
        self.panic_in("release");
        self.released.push(number);
    }
}

fn search(options: &SearchOptions) -> emr::Result<Search> {
    let mut search = Search::new(options)?;
    for name in ["zero", "one", "half"] {
        search.add_model(name)?;
    }
    Ok(search)
}

#[test]
fn a_search_comes_nearer() -> emr::Result<()> {
    let mut search = search(&SearchOptions { max_generations: 6, ..Default::default() })?;
    assert_eq!(search.result().unwrap_err().kind(), ErrorKind::State);
    let mut host = Numbers::new(&[0.0, 1.0, 0.5]);
    let result = search.run(&mut host)?;
    let best = search.candidate(result.best)?;
    assert_eq!((best.score, best.generation > 0), (Some(result.score), true));
    assert!((host.values[result.best as usize] - 0.3).abs() < 0.06);
    assert_eq!(host.made[..3], ["zero+one", "zero+half", "one+half"]);
    assert_eq!(search.candidates().count(), result.n_models as usize);
    assert_eq!((result.n_scored, host.values.len()), (result.n_models, result.n_models as usize));
    assert!(search.candidates().take(3).all(|added| added.parents.is_none() && added.kinship.is_none()));
    assert_eq!(search.candidate(result.n_models).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(search.run(&mut host).unwrap_err().kind(), ErrorKind::State, "a search runs once");
    Ok(())
}

#[test]
fn it_ends_where_it_is_told() -> emr::Result<()> {
    let options = SearchOptions { max_generations: 1, ..Default::default() };
    let result = search(&options)?.run(&mut Numbers::new(&[0.0, 1.0, 0.5]))?;
    assert_eq!((result.end, result.generation), (SearchEnd::Generations, 1));
    let options = SearchOptions { stop_kinship: Some(0.1), ..Default::default() };
    let result = search(&options)?.run(&mut Numbers::new(&[0.0, 1.0, 0.5]))?;
    assert_eq!(result.end, SearchEnd::Kinship);
    let options = SearchOptions { partner: Partner::None, max_generations: 100, ..Default::default() };
    let mut host = Numbers::new(&[0.0, 1.0, 0.5]);
    assert_eq!(search(&options)?.run(&mut host)?.end, SearchEnd::Steady);
    assert!(!host.released.is_empty());
    Ok(())
}

#[test]
fn a_host_s_error_is_the_source() -> emr::Result<()> {
    for place in ["merge", "evaluate", "similarity"] {
        let mut host = Numbers { fails_at: Some(place), ..Numbers::new(&[0.0, 1.0, 0.5]) };
        let error = search(&Default::default())?.run(&mut host).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.message().ends_with(&format!("{place} did not work")), "{error}");
        assert!(error.source().is_some_and(|source| source.is::<std::io::Error>()));
    }
    Ok(())
}

#[test]
fn a_host_s_panic_goes_on() -> emr::Result<()> {
    for place in ["merge", "evaluate", "similarity", "release"] {
        let mut search = search(&SearchOptions { partner: Partner::None, ..Default::default() })?;
        let mut host = Numbers { panics_in: Some(place), ..Numbers::new(&[0.0, 1.0, 0.5]) };
        assert!(catch_unwind(AssertUnwindSafe(|| search.run(&mut host))).is_err(), "{place}");
        assert_eq!(host.panics, 1, "no callback runs after {place} panicked");
    }
    Ok(())
}

#[test]
fn names_are_checked() -> emr::Result<()> {
    let mut search = search(&Default::default())?;
    assert_eq!(search.add_model("zero").unwrap_err().kind(), ErrorKind::Exists);
    for name in ["", "1-1", "2-exp", "a\0b"] {
        assert_eq!(search.add_model(name).unwrap_err().kind(), ErrorKind::InvalidArgument, "{name:?}");
    }
    let error = Search::new(&Default::default())?.run(&mut Numbers::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    let error = search.run(&mut Numbers::new(&[f64::NAN; 3])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "no model has a score");
    Ok(())
}

#[test]
fn trials_give_the_best_one() -> emr::Result<()> {
    let options = TrialsOptions { seed: 7, n_trials: 50, n_values: 5, ..Default::default() };
    let mut scores = Vec::new();
    let best = emr::trials_run(&options, |number, values| {
        let mut drawn = [0.0; 5];
        emr::trial_draw(7, number, &mut drawn);
        assert_eq!(values, drawn);
        assert!(values.iter().all(|value| *value > 0.0 && *value <= 1.0));
        scores.push(if number % 2 == 0 { f64::NAN } else { values.iter().sum() });
        Ok(scores[number as usize - 1])
    })?;
    let largest = scores.iter().copied().filter(|score| !score.is_nan()).fold(0.0, f64::max);
    assert_eq!((scores.len(), best.score), (50, largest));
    assert_eq!(scores[best.number as usize - 1], largest);
    assert_eq!(best.values.iter().sum::<f64>(), largest);
    Ok(())
}

#[test]
fn a_trial_s_failure_is_the_caller_s() {
    let options = TrialsOptions { n_values: 1, ..Default::default() };
    let error = emr::trials_run(&options, |_, _| Err("no such luck".into())).unwrap_err();
    assert_eq!(
        (error.kind(), error.source().unwrap().to_string()),
        (ErrorKind::Io, "no such luck".to_owned())
    );
    assert!(catch_unwind(|| emr::trials_run(&options, |_, _| panic!("no"))).is_err());
    let error = emr::trials_run(&options, |_, _| Ok(f64::INFINITY)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let error = emr::trials_run(&TrialsOptions::default(), |_, _| Ok(1.0)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "there are no values");
}

//! Statistics of task vectors, and kinship.

#[allow(dead_code)] // no test needs all of it
mod worlds;

use emr::{
    ErrorKind, Kinship, KinshipMetric, KinshipOptions, OnNonfinite, Resources, Statistics, StatisticsOptions,
    StatisticsRounding, StatisticsScope,
};
use std::ops::ControlFlow;
use worlds::{base, count, draws, model, models, task, TENSORS};

fn statistics(options: StatisticsOptions<'_>) -> emr::Result<Statistics<'_>> {
    let (base, tasks) = models()?;
    let mut statistics = Statistics::new(options)?;
    statistics.set_base(&base)?;
    statistics.add_task("math", &tasks[0])?;
    statistics.add_task("code", &tasks[1])?;
    Ok(statistics) // which keeps the models
}

/// The task vectors of the world, by the definition.
fn changes(seed: u32) -> Vec<f64> {
    let of = |shape: &[u64]| {
        let (base, change) = (draws(1, count(shape)), draws(seed, count(shape)));
        let tuned = base.iter().zip(change).map(|(base, change)| base + change / 16.0);
        tuned.zip(base.clone()).map(|(x, b)| f64::from(x - b)).collect::<Vec<_>>()
    };
    TENSORS.iter().flat_map(|(_, shape)| of(shape)).collect()
}

#[test]
fn sums_are_those_of_the_definition() -> emr::Result<()> {
    let mut statistics =
        statistics(StatisticsOptions { quantiles: vec![0.0, 0.5, 1.0], ..Default::default() })?;
    let plan = statistics.plan()?;
    assert_eq!((plan.params, plan.n_tensors, plan.n_left_out), (40008, 3, 0));
    assert_eq!(statistics.n_groups(StatisticsScope::Model), 0, "it has not run");
    assert_eq!(statistics.model().unwrap_err().kind(), ErrorKind::State);
    statistics.run()?;

    let group = statistics.model()?;
    let x = [changes(2), changes(3)];
    assert_eq!((group.name(), group.count(), group.n_tasks(), group.n_tensors()), ("", 40008, 2, 3));
    let near = |got: f64, want: f64| assert!((got - want).abs() <= 1e-9 * (1.0 + want.abs()), "{got} {want}");
    for i in 0..2 {
        near(group.sums()[i], x[i].iter().sum());
        near(group.magnitudes()[i], x[i].iter().map(|x| x.abs()).sum());
        near(group.fourths()[i], x[i].iter().map(|x| x.powi(4)).sum());
        near(group.largest()[i], x[i].iter().fold(0.0, |a, b| b.abs().max(a)));
        assert_eq!(group.zeros()[i], x[i].iter().filter(|x| **x == 0.0).count() as u64);
        assert_eq!(group.nonfinite()[i], 0);
        near(group.moments(i as u32)?.norm, x[i].iter().map(|x| x * x).sum::<f64>().sqrt());
        near(group.quantiles()[3 * i + 2], group.largest()[i]);
        for j in 0..2 {
            let pairs = || x[i].iter().zip(&x[j]);
            near(group.products()[2 * i + j], pairs().map(|(a, b)| a * b).sum());
            near(group.distances()[2 * i + j], pairs().map(|(a, b)| (a - b).powi(2)).sum());
            assert_eq!(group.same_signs()[2 * i + j], pairs().filter(|(a, b)| *a * *b > 0.0).count() as u64);
            assert_eq!(group.both()[2 * i + j], pairs().filter(|(a, b)| *a * *b != 0.0).count() as u64);
        }
    }
    let opposed = x[0].iter().zip(&x[1]).filter(|(a, b)| *a * *b < 0.0).count() as u64;
    assert_eq!((group.conflicts(), group.unchanged()), (opposed, 0));
    assert_eq!(group.moments(2).unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn groups_are_of_tensors_layers_and_kinds() -> emr::Result<()> {
    let mut statistics = statistics(Default::default())?;
    statistics.run()?;
    let names = |scope| statistics.groups(scope).map(|group| group.name()).collect::<Vec<_>>();
    assert_eq!(names(StatisticsScope::Tensor), TENSORS.map(|(name, _)| name));
    assert_eq!(names(StatisticsScope::Layer), ["0", ""]);
    assert_eq!(names(StatisticsScope::Kind), ["up", "other"]);
    let layer = statistics.group(StatisticsScope::Layer, 0)?;
    assert_eq!((layer.layer(), layer.count(), layer.quantiles().len()), (Some(0), 40000, 0));
    let tensor = statistics.group(StatisticsScope::Tensor, 1)?;
    assert_eq!((tensor.layer(), tensor.tensor().unwrap().shape()), (None, &[2][..]));
    assert_eq!(statistics.group(StatisticsScope::Kind, 2).unwrap_err().kind(), ErrorKind::NotFound);
    Ok(())
}

#[test]
fn kinship_is_symmetric_and_1_with_oneself() -> emr::Result<()> {
    let (base, tasks) = models()?;
    let twin = task("twin", 2)?;
    let kinship = emr::kinship(&base, &[("math", &tasks[0]), ("code", &tasks[1]), ("twin", &twin)])?;
    assert_eq!(kinship.n_tasks(), 3);
    assert!((kinship.get(0, 2) - 1.0).abs() < 1e-12 && kinship.get(0, 1).abs() < 0.1);
    assert_eq!(kinship.get(0, 1), kinship.get(1, 0));
    let mean = (kinship.get(0, 1) + kinship.get(0, 2) + kinship.get(1, 2)) / 3.0;
    assert!((kinship.mean() - mean).abs() < 1e-12);
    assert!(emr::kinship(&base, &[("math", &tasks[0])])?.mean().is_nan());
    Ok(())
}

#[test]
fn metrics_and_splitting() -> emr::Result<()> {
    let mut statistics = statistics(Default::default())?;
    statistics.run()?;
    let of = |metric, absolute| -> emr::Result<Kinship> {
        statistics.model()?.kinship(&KinshipOptions { metric, absolute })
    };
    let cosine = of(KinshipMetric::Cosine, false)?.get(0, 1);
    assert_eq!(of(KinshipMetric::Cosine, true)?.get(0, 1), cosine.abs());
    assert_eq!(of(KinshipMetric::Euclid, false)?.get(0, 0), 0.0);
    let split = statistics.split_kinship(&KinshipOptions::default())?;
    assert!((split.get(0, 0) - 1.0).abs() < 1e-12);
    Ok(())
}

#[test]
fn results_do_not_depend_on_threads() -> emr::Result<()> {
    let run = |threads| -> emr::Result<Vec<f64>> {
        let resources = Resources::new().threads(threads);
        let mut statistics = statistics(StatisticsOptions { resources, ..Default::default() })?;
        statistics.run()?;
        Ok([statistics.model()?.products(), statistics.model()?.fourths()].concat())
    };
    assert_eq!(run(1)?, run(3)?);
    Ok(())
}

#[test]
fn progress_stops_a_run_which_may_be_made_again() -> emr::Result<()> {
    let mut calls = 0;
    let resources = Resources::new().progress(|_| {
        calls += 1;
        if calls == 1 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let mut statistics = statistics(StatisticsOptions { resources, ..Default::default() })?;
    assert_eq!(statistics.run().unwrap_err().kind(), ErrorKind::Canceled);
    statistics.run()?;
    drop(statistics);
    assert!(calls > 1);
    Ok(())
}

#[test]
fn what_is_not_finite_is_an_error_or_nothing() -> emr::Result<()> {
    let broken = {
        let mut values = TENSORS.map(|(name, shape)| (name, shape, draws(1, count(shape))));
        values[0].2[3] = f32::NAN;
        model("broken", &values)?
    };
    let run = |on_nonfinite| -> emr::Result<u64> {
        let mut statistics = Statistics::new(StatisticsOptions { on_nonfinite, ..Default::default() })?;
        statistics.set_base(&base()?)?;
        statistics.add_task("broken", &broken)?;
        statistics.run()?;
        let n = statistics.model()?.nonfinite()[0];
        Ok(n)
    };
    let error = run(OnNonfinite::Error).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NonFinite);
    assert_eq!((error.task(), error.tensor()), (Some("broken"), Some("layer.weight")));
    assert_eq!(run(OnNonfinite::Zero)?, 1);
    Ok(())
}

#[test]
fn what_does_not_go_together_is_an_error() -> emr::Result<()> {
    let rounded = StatisticsOptions {
        quantiles: vec![0.5],
        rounding: StatisticsRounding::PerModel,
        ..Default::default()
    };
    assert!(statistics(rounded).and_then(|mut statistics| statistics.run()).is_err());
    let mut none = Statistics::new(Default::default())?;
    assert!(none.run().is_err());
    none.add_task("math", &task("math", 2)?)?;
    assert_eq!(none.add_task("math", &task("math", 2)?).unwrap_err().kind(), ErrorKind::Exists);
    Ok(())
}

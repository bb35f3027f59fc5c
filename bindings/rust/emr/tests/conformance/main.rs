//! The cases of bindings/conformance through the safe interface: README.md there says what they are.

mod bundles;
mod merges;
mod methods;
mod models;
mod sessions;
mod world;

use emr::{ErrorKind, Pool};
use serde_json::{json, Map, Value};
use std::error::Error as StdError;
use world::{Object, OnPurpose, World};

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/cases.json");

#[derive(Default)]
struct Counts {
    cases: usize,
    checks: usize,
    failures: Vec<String>,
}

/// Numbers are equal as numbers.
fn are_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a.as_i64().zip(b.as_i64()).map_or_else(|| a.as_f64() == b.as_f64(), |(a, b)| a == b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| are_equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| are_equal(a, b)))
        }
        (a, b) => a == b,
    }
}

impl Counts {
    fn compare(&mut self, place: &str, wanted: &Map<String, Value>, found: &Map<String, Value>) {
        self.checks += wanted.len();
        for (key, wanted) in wanted {
            if !found.get(key).is_some_and(|found| are_equal(wanted, found)) {
                let found = found.get(key).unwrap_or(&Value::Null);
                self.failures.push(format!("{place}: {key} is\n    {found}\n  and should be\n    {wanted}"));
            }
        }
        for key in found.keys().filter(|key| !wanted.contains_key(*key)) {
            self.failures.push(format!("{place}: {key} is not expected"));
        }
    }
}

fn error_of(wanted: &Map<String, Value>, error: &emr::Error) -> Map<String, Value> {
    let mut found = Map::new();
    if error.source().is_some_and(|source| source.is::<OnPurpose>()) {
        found.insert("status".into(), json!("own"));
        return found;
    }
    found.insert("status".into(), json!(error.kind().name()));
    if wanted.len() > 1 {
        found.insert("text".into(), json!(error.message()));
        for (key, name) in [("file", error.file()), ("task", error.task()), ("tensor", error.tensor())] {
            found.extend(name.map(|name| (key.to_owned(), json!(name))));
        }
    }
    found
}

fn run_step(world: &mut World, step: &Object<'_>) -> emr::Result<Value> {
    let name = step.text("do");
    models::run(world, name, step)
        .or_else(|| merges::run(world, name, step))
        .or_else(|| bundles::run(world, name, step))
        .or_else(|| sessions::run(world, name, step))
        .or_else(|| methods::run(world, name, step))
        .unwrap_or_else(|| panic!("unknown step '{name}'"))
}

fn check_step(world: &mut World, place: &str, value: &Value, counts: &mut Counts) {
    let step = Object::new(value);
    let (wanted, error) = (step.object("expect"), step.object("error"));
    match (run_step(world, &step), error) {
        (Ok(_), Some(_)) => counts.failures.push(format!("{place}: it should fail")),
        (Ok(found), None) => {
            step.check_keys();
            if let Some(wanted) = wanted {
                counts.compare(place, wanted, found.as_object().unwrap_or(&Map::new()));
            }
        }
        (Err(error), Some(wanted)) => counts.compare(place, wanted, &error_of(wanted, &error)),
        (Err(error), None) => counts.failures.push(format!("{place}: {error}")),
    }
}

fn run_case(case: &Value, given: &Value, pool: Option<&Pool>, counts: &mut Counts) {
    let case = Object::new(case);
    let mut world = World::new(pool.cloned());
    let before = match case.optional_text("given") {
        Some(name) => given[name].as_array().expect("what a case names is given"),
        None => &Vec::new(),
    };
    for (i, step) in before.iter().chain(case.array("steps")).enumerate() {
        let threads = if pool.is_some() { "three threads" } else { "one thread" };
        let place = format!("{}, step {}, {threads}", case.text("name"), i + 1);
        check_step(&mut world, &place, step, counts);
    }
    case.check_keys();
}

#[test]
fn all_cases_give_what_c_gives() {
    let text = std::fs::read_to_string(CASES).expect("the cases are there");
    let file: Value = serde_json::from_str(&text).expect("they are JSON");
    let pool = Pool::new(3).unwrap();
    let mut counts = Counts::default();
    for case in file["cases"].as_array().expect("there are cases") {
        counts.cases += 1;
        run_case(case, &file["given"], None, &mut counts);
        run_case(case, &file["given"], Some(&pool), &mut counts);
    }
    println!("{} cases, {} checks", counts.cases, counts.checks);
    assert!(
        counts.failures.is_empty(),
        "{} failures:\n{}",
        counts.failures.len(),
        counts.failures.join("\n")
    );
    assert_eq!(ErrorKind::Unknown(0).name(), "EMR_OK");
}

//! Sessions: weights written, products, rows gathered.

use crate::bundles::CHECKS;
use crate::world::{bytes_of, digest_of, digest_of_floats, drawn_floats, word_of, Object, World, BLOCKS};
use emr::{Bundle, Format, Gather, Product, Result, Session, SessionOptions, Target};
use serde_json::{json, Value};

pub fn run(world: &mut World, name: &str, step: &Object<'_>) -> Option<Result<Value>> {
    Some(match name {
        "session" => make(world, step),
        "apply" => with_session(world, step, |session, bundle| apply(session, bundle, step)),
        "multiply" => with_session(world, step, |session, bundle| multiply(session, bundle, step)),
        "gather" => with_session(world, step, |session, bundle| gather(session, bundle, step)),
        _ => return None,
    })
}

fn make(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let options = SessionOptions {
        resources: world.resources(),
        mask_bytes: step.number("mask_bytes"),
        check: step.word("check", &CHECKS),
        without_base: step.flag("without_base"),
        ..Default::default()
    };
    let bundle = world.bundle(step.text("bundle")).clone();
    let session = Session::new(&bundle, world.optional_model(step, "base"), options)?;
    world.sessions.insert(step.text("session").to_owned(), (session, bundle));
    Ok(Value::Null)
}

/// The session, or one more handle of it.
fn with_session(
    world: &mut World,
    step: &Object<'_>,
    f: impl FnOnce(&mut Session<'static>, &Bundle<'static>) -> Result<Value>,
) -> Result<Value> {
    let (session, bundle) = world.sessions.get_mut(step.text("session")).expect("there is such a session");
    match step.flag("thread") {
        true => f(&mut session.open_thread()?, bundle),
        false => f(session, bundle),
    }
}

fn find_task(bundle: &Bundle<'_>, name: &str) -> Result<u32> {
    match name {
        "" => Ok(emr::BASE),
        name => bundle.find_task(name),
    }
}

fn find_tasks(bundle: &Bundle<'_>, step: &Object<'_>) -> Result<Vec<u32>> {
    step.texts("tasks").into_iter().map(|name| find_task(bundle, name)).collect()
}

/// What is asked of one tensor, and where it goes.
struct Asked<'j> {
    of: Object<'j>,
    format: Format,
    out: Vec<u8>,
    staging: Vec<u8>,
}

impl<'j> Asked<'j> {
    fn new(value: &'j Value) -> Self {
        let of = Object::new(value);
        let format = match of.optional_text("blocks") {
            Some(word) => Format::Blocks(word_of(word, &BLOCKS)),
            None => Format::Dtype(of.dtype("dtype").expect("a dtype or blocks")),
        };
        let (n, staging) = (bytes_of(format, of.number("count")), bytes_of(format, of.number("staging")));
        Self { of, format, out: vec![0; n], staging: vec![0; staging] }
    }

    fn target(&mut self) -> Target<'_> {
        let (name, format, out) = (self.of.text("name"), self.format, &mut self.out);
        let mut target = match self.staging.len() {
            0 => Target::with_format(name, format, out),
            _ => {
                out.clear();
                Target::staged_with_format(name, format, &mut self.staging, |part| {
                    out.extend_from_slice(part.data);
                    Ok(())
                })
            }
        };
        target = target.first(self.of.number("first")).count(self.of.number("count"));
        let without_base = self.of.flag("without_base");
        self.of.get("dtype");
        self.of.check_keys();
        if without_base {
            target.without_base()
        } else {
            target
        }
    }
}

fn apply(session: &mut Session<'_>, bundle: &Bundle<'_>, step: &Object<'_>) -> Result<Value> {
    let task = find_task(bundle, step.text("task"))?;
    let mut asked: Vec<_> = step.array("weights").iter().map(Asked::new).collect();
    session.apply(task, asked.iter_mut().map(Asked::target).collect::<Vec<_>>())?;
    Ok(json!({"digests": asked.iter().map(|asked| digest_of(&asked.out)).collect::<Vec<_>>()}))
}

fn multiply(session: &mut Session<'_>, bundle: &Bundle<'_>, step: &Object<'_>) -> Result<Value> {
    let tasks = find_tasks(bundle, step)?;
    let (n, seed) = (tasks.len() as u64, step.number("seed"));
    let (first, rows) = (step.number("first_row"), step.number("n_rows"));
    let x = drawn_floats(seed, n * step.number("columns"));
    let mut y = drawn_floats(seed + 1, n * rows);
    let mut product = Product::new(step.text("tensor"), &x, &mut y)
        .rows(first..first + rows)
        .columns(step.number("n_columns"));
    if step.flag("without_base") {
        product = product.without_base();
    }
    if step.flag("add") {
        product = product.add();
    }
    session.multiply(&tasks, product)?;
    Ok(json!({"digest": digest_of_floats(&y)}))
}

fn gather(session: &mut Session<'_>, bundle: &Bundle<'_>, step: &Object<'_>) -> Result<Value> {
    let tasks = find_tasks(bundle, step)?;
    let rows: Vec<u64> = step.array("rows").iter().map(|row| row.as_u64().expect("a row")).collect();
    let dtype = step.dtype("dtype").expect("a dtype");
    let mut out = vec![0u8; bytes_of(dtype.into(), tasks.len() as u64 * step.number("row"))];
    let mut gather = Gather::with_dtype(step.text("tensor"), dtype, &mut out)
        .rows(&rows)
        .columns(step.number("n_columns"));
    if step.flag("without_base") {
        gather = gather.without_base();
    }
    session.gather(&tasks, gather)?;
    Ok(json!({"digest": digest_of(&out)}))
}

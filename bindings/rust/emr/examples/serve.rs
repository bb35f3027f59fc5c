//! Serves the tasks of a bundle: reads lines "TASK x0 x1 ..." and prints W x, with the weights of that task, which are
//! written nowhere. Each worker has a handle of one session; requests of any task go to whoever is free.
//!
//!     serve BASE BUNDLE TENSOR < requests

use std::io::BufRead;
use std::sync::{mpsc, Mutex};
use std::thread;

// cookbook: begin
struct Request {
    task: String,
    x: Vec<f32>,
    answer: mpsc::Sender<emr::Result<Vec<f32>>>,
}

/// W x, with W of the task's, in `rows` rows.
fn answer(
    session: &mut emr::Session,
    tensor: &str,
    rows: usize,
    task: &str,
    x: &[f32],
) -> emr::Result<Vec<f32>> {
    let task = session.bundle().find_task(task)?;
    let mut y = vec![0.0; rows];
    session.multiply(&[task], emr::Product::new(tensor, x, &mut y))?;
    Ok(y)
}

/// Answers requests until their senders have gone.
fn serve(
    bundle: &emr::Bundle,
    base: &emr::Model,
    tensor: &str,
    requests: mpsc::Receiver<Request>,
) -> emr::Result<()> {
    let rows = bundle.tensor(bundle.find_tensor(tensor)?)?.shape[0] as usize;
    let mut session = emr::Session::new(bundle, Some(base), Default::default())?;
    let workers = (0..4).map(|_| session.open_thread()).collect::<emr::Result<Vec<_>>>()?;
    let requests = &Mutex::new(requests);
    thread::scope(|scope| {
        for mut own in workers {
            scope.spawn(move || loop {
                let next = requests.lock().unwrap().recv();
                let Ok(request) = next else { break };
                let y = answer(&mut own, tensor, rows, &request.task, &request.x);
                let _ = request.answer.send(y); // who does not wait any more need not know
            });
        }
    });
    Ok(())
}
// cookbook: end

fn ask(to: &mpsc::Sender<Request>, task: &str, x: Vec<f32>) -> emr::Result<Vec<f32>> {
    let (answer, answered) = mpsc::channel();
    to.send(Request { task: task.into(), x, answer }).expect("somebody serves");
    answered.recv().expect("every request is answered")
}

fn ask_lines(to: mpsc::Sender<Request>) -> Result<(), Box<dyn std::error::Error>> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let Some(task) = words.next() else { continue };
        println!("{:?}", ask(&to, task, words.map(str::parse).collect::<Result<_, _>>()?)?);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [base, bundle, tensor] = &words[..] else { return Err("usage: serve BASE BUNDLE TENSOR".into()) };
    let (base, bundle) = (emr::Model::open(base)?, emr::Bundle::open(bundle)?);
    let (to, requests) = mpsc::channel();
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&bundle, &base, tensor, requests));
        let asked = ask_lines(to);
        server.join().expect("no worker panics")?;
        asked
    })
}

#[cfg(test)]
#[path = "../tests/worlds/mod.rs"]
#[allow(dead_code)] // It has more than is needed here.
mod worlds;

/// Every answer is that of the task's own weights, and who asks for a task that is not there is told.
#[cfg(test)]
#[test]
fn answers_are_the_tasks() -> emr::Result<()> {
    let (base, bundle) = worlds::bundle()?;
    let (to, requests) = mpsc::channel();
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(&bundle, &base, "layer.weight", requests));
        for task in bundle.tasks() {
            let w = task.open(Some(&base))?.get("layer.weight").expect("it is there").to_floats()?;
            let y = ask(&to, task.name(), vec![1.0, 0.0, 0.0])?;
            assert_eq!(y, [w[0], w[3]]);
        }
        assert_eq!(ask(&to, "italian", vec![1.0; 3]).unwrap_err().kind(), emr::ErrorKind::NotFound);
        drop(to);
        server.join().expect("no worker panics")
    })
}

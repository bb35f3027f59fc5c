//! Serving tasks: several threads, one bundle in memory, requests for different tasks. Each worker has a
//! handle of one session; what it multiplies by is the task of each request, and no task's weights are ever
//! written anywhere.
//!
//! `cargo run --example serve_tasks all.emr base.safetensors layer.weight`

use emr::{Bundle, Model, Product, Session, SessionOptions};
use std::sync::{mpsc, Mutex};

/// A vector to multiply by a task's weights.
struct Request {
    task: u32,
    x: Vec<f32>,
    reply: mpsc::Sender<emr::Result<Vec<f32>>>,
}

/// Takes requests until there are no more.
fn serve(mut session: Session<'_>, tensor: u32, n_rows: usize, requests: &Mutex<mpsc::Receiver<Request>>) {
    loop {
        let next = requests.lock().expect("no worker panics with the lock").recv();
        let Ok(request) = next else { return };
        let mut y = vec![0.0; n_rows];
        let done = session.multiply(&[request.task], Product::new(tensor, &request.x, &mut y));
        let _ = request.reply.send(done.map(|()| y)); // whoever asked may be gone
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [bundle, base, tensor] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("three arguments");
    let (bundle, base) = (Bundle::open(bundle)?, Model::open(base)?);
    let number = bundle.find_tensor(&tensor)?;
    let shape = bundle.tensor(number)?.shape;
    let [n_rows, n_columns] = [shape[0] as usize, shape[1] as usize];
    let mut session = Session::new(&bundle, Some(&base), SessionOptions::default())?;
    let workers = (0..4).map(|_| session.open_thread()).collect::<emr::Result<Vec<_>>>()?;
    let (sender, receiver) = mpsc::channel();
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        for worker in workers {
            scope.spawn(|| serve(worker, number, n_rows, &receiver));
        }
        let (reply, replies) = mpsc::channel();
        for task in bundle.tasks() {
            sender.send(Request { task: task.number(), x: vec![1.0; n_columns], reply: reply.clone() })?;
        }
        drop((sender, reply)); // no more requests: workers return
        for y in replies {
            println!("{:?}...", &y?[..n_rows.min(4)]);
        }
        Ok(())
    })
}

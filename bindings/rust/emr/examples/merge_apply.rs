//! Two fine-tuned models into one bundle, and one of them back:
//! `cargo run --example merge_apply base french german` (files or folders).
fn main() -> emr::Result<()> {
    let [base, french, german] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("three models");
    let base = emr::Model::open(base)?;
    let mut merge = emr::Merge::new(Default::default())?;
    merge.set_base(&base)?;
    merge.add_task("french", &emr::Model::open(french)?)?;
    merge.add_task("german", &emr::Model::open(german)?)?;
    merge.run(emr::Output::file("all.emr"))?;
    let task = emr::Bundle::open("all.emr")?.task("french")?;
    task.open(Some(&base))?.write("french.safetensors", Default::default()).map(drop)
}

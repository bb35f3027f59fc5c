//! Merges two fine-tuned models into one bundle, and gets one of them back:
//!
//!     merge_apply BASE FRENCH GERMAN BUNDLE OUT
//!
//! Models are files or folders.

fn merge_and_apply([base, french, german, bundle, out]: [&str; 5]) -> emr::Result<()> {
    let base = emr::Model::open(base)?;
    let mut merge = emr::Merge::new(Default::default())?;
    merge.set_base(&base)?;
    merge.add_task("french", &emr::Model::open(french)?)?;
    merge.add_task("german", &emr::Model::open(german)?)?;
    merge.run(emr::Output::file(bundle))?;
    let french = emr::Bundle::open(bundle)?.task("french")?.open(Some(&base))?;
    french.write(out, Default::default()).map(drop)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let paths = words.iter().map(String::as_str).collect::<Vec<_>>().try_into();
    let paths = paths.map_err(|_| "usage: merge_apply BASE FRENCH GERMAN BUNDLE OUT")?;
    Ok(merge_and_apply(paths)?)
}

#[cfg(test)]
#[path = "../tests/worlds/mod.rs"]
mod worlds;

/// What comes out is the task's model, as the bundle has it.
#[cfg(test)]
#[test]
fn a_task_comes_back() -> emr::Result<()> {
    let folder = std::env::temp_dir().join(format!("emr-merge-apply-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a new folder");
    let paths = ["base", "french", "german"].map(|name| folder.join(format!("{name}.safetensors")));
    let models = [worlds::base()?, worlds::task("french", 2)?, worlds::task("german", 3)?];
    for (model, path) in models.iter().zip(&paths) {
        model.write(path, Default::default())?;
    }
    let (bundle, out) = (folder.join("all.emr"), folder.join("out.safetensors"));
    let [base, french, german] = paths.each_ref().map(|path| path.to_str().expect("a text"));
    merge_and_apply([base, french, german, bundle.to_str().unwrap(), out.to_str().unwrap()])?;
    let (bundle, written) = (emr::Bundle::open(bundle)?, emr::Model::open(out)?);
    let wanted = bundle.task("french")?.open(Some(&models[0]))?;
    for (tensor, wanted) in written.iter().zip(&wanted) {
        assert_eq!((tensor.name(), tensor.to_bytes()?), (wanted.name(), wanted.to_bytes()?));
    }
    std::fs::remove_dir_all(folder).expect("it can be removed");
    Ok(())
}

//! Steps about models: made, renamed, read, written, opened; adapters; dtypes and blocks.

use crate::world::{
    bytes_of, digest_of, digest_of_floats, draw, drawn, drawn_floats, drawn_from, dtype_of, real, real_of,
    text_of, word_of, Digest, Object, OnPurpose, World, BLOCKS,
};
use emr::{
    Chunks, Dtype, ErrorKind, Format, Input, Model, ModelBuilder, Output, ReadAt, ReadOptions, Result,
    WriteOptions,
};
use serde_json::{json, Map, Value};
use std::io;

pub fn run(world: &mut World, name: &str, step: &Object<'_>) -> Option<Result<Value>> {
    Some(match name {
        "model" => make_model(world, step),
        "zeros" => Model::zeros_like(world.model(step.text("like"))).map(|model| keep(world, step, model)),
        "ones" => Model::ones_like(world.model(step.text("like"))).map(|model| keep(world, step, model)),
        "rename" => rename(world, step).map(|model| keep(world, step, model)),
        "pick" => pick(world, step).map(|model| keep(world, step, model)),
        "adapter" => {
            let (base, adapter) = (world.model(step.text("base")), world.model(step.text("adapter")));
            base.with_adapter(adapter, world.resources()).map(|model| keep(world, step, model))
        }
        "open" => open(world, step).map(|model| keep(world, step, model)),
        "load" => load(world, step).map(|model| keep(world, step, model)),
        "read" => read(world, step),
        "roles" => tell_roles(world, step),
        "write" => write(world, step),
        "save" => save(world, step),
        "bytes" => Ok(keep_file(world, step, bytes_of_hex(step.text("hex")))),
        "damage" => Ok(damage(world, step)),
        "exists" => Ok(json!({"is_there": u32::from(world.path(step.text("path")).exists())})),
        "agree" => agree(world, step),
        "convert" => convert(step),
        "quantise" => quantise(step),
        "names" => Ok(tell_names(step)),
        "globs" => Ok(match_globs(step)),
        "elementary" => Ok(tell_elementary(step)),
        "constants" => Ok(tell_constants()),
        _ => return None,
    })
}

fn keep(world: &mut World, step: &Object<'_>, model: Model<'static>) -> Value {
    world.keep_model(step, model);
    Value::Null
}

fn keep_file(world: &mut World, step: &Object<'_>, bytes: Vec<u8>) -> Value {
    world.files.insert(step.text("file").to_owned(), bytes);
    Value::Null
}

fn bytes_of_hex(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..][..2], 16).expect("hex")).collect()
}

/// What a tensor holds, before it is put into blocks.
fn elements_of(of: &Object<'_>, dtype: Dtype, count: u64) -> Vec<u8> {
    if of.get("values").is_some() {
        let values = of.array("values").iter().map(real_of);
        return match dtype {
            Dtype::F64 => values.flat_map(f64::to_le_bytes).collect(),
            _ => values.flat_map(|value| (value as f32).to_le_bytes()).collect(),
        };
    }
    if let Some(hex) = of.optional_text("hex") {
        return bytes_of_hex(hex);
    }
    if let Some(text) = of.optional_text("text") {
        return text.as_bytes().to_vec();
    }
    let (seed, every) = (of.number("seed"), of.number("every"));
    if every == 0 {
        return drawn(dtype, seed, count);
    }
    let mut bytes = drawn(dtype, of.number("else"), count);
    for i in (0..count).filter(|i| (draw(seed, *i) & 0xFFFFFFFF) % every == 0) {
        let element = drawn_from(dtype, seed, i, 1);
        bytes[bytes_of(dtype.into(), i)..][..element.len()].copy_from_slice(&element);
    }
    bytes
}

/// Bytes behind 5 others.
struct Behind(Vec<u8>);

impl ReadAt for Behind {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let at = offset as usize - 5;
        buffer.copy_from_slice(&self.0[at..at + buffer.len()]);
        Ok(())
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64 + 5)
    }
}

fn add_tensor(
    world: &mut World,
    builder: &mut ModelBuilder<'static>,
    model: &str,
    value: &Value,
) -> Result<()> {
    let of = Object::new(value);
    let (name, dtype) = (of.text("name"), dtype_of(of.text("dtype")));
    let shape: Vec<u64> = of.array("shape").iter().map(|n| n.as_u64().expect("a dimension")).collect();
    let count = shape.iter().product();
    let mut bytes = elements_of(&of, dtype, count);
    let mut format = Format::Dtype(dtype);
    if let Some(blocks) = of.optional_text("blocks").map(|word| word_of(word, &BLOCKS)) {
        format = Format::Blocks(blocks);
        let values: Vec<f32> =
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        bytes = vec![0; bytes_of(format, count)];
        emr::quantise(blocks, &mut bytes, &values).expect("whole blocks");
    }
    let source = of.optional_text("from").unwrap_or("memory");
    let chunks = if count < 4 { Chunks::default() } else { Chunks { granule: 4, max_count: 64 } };
    of.check_keys();
    match source {
        "memory" => builder.add_owned(name, format, &shape, bytes),
        "io" => {
            let input = builder.input(Input::reader(Behind(bytes)))?;
            builder.add_extent(name, format, &shape, input, 5)
        }
        "computed" => builder.add_computed_in(name, dtype, &shape, chunks, move |asked| {
            let (first, n) = (bytes_of(dtype.into(), asked.first), asked.out.len());
            asked.out.copy_from_slice(&bytes[first..first + n]);
            Ok(())
        }),
        "failing" => builder.add_computed_in(name, dtype, &shape, chunks, |_| Err(OnPurpose.into())),
        "pushed" => {
            world.pushed.insert((model.to_owned(), name.to_owned()), bytes);
            builder.add_pushed(name, dtype, &shape)
        }
        other => panic!("unknown word '{other}'"),
    }
}

fn make_model(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let name = step.text("model");
    let mut builder = Model::builder(name)?;
    for tensor in step.array("tensors") {
        add_tensor(world, &mut builder, name, tensor)?;
    }
    let mut model = builder.build();
    for (key, value) in step.object("metadata").into_iter().flatten() {
        model.set_metadata(key, text_of(value))?;
    }
    Ok(keep(world, step, model))
}

fn rename(world: &World, step: &Object<'_>) -> Result<Model<'static>> {
    let rules: Vec<_> =
        step.array("rules").iter().map(|rule| (text_of(&rule[0]), text_of(&rule[1]))).collect();
    world.model(step.text("of")).renamed(&rules)
}

fn pick(world: &World, step: &Object<'_>) -> Result<Model<'static>> {
    let of = world.model(step.text("of"));
    let mut builder = Model::builder(step.text("model"))?;
    for names in step.array("tensors") {
        match names.get(1) {
            Some(new) => builder.add_tensor_as(of, text_of(&names[0]), text_of(new))?,
            None => builder.add_tensor(of, text_of(&names[0]))?,
        }
    }
    let mut model = builder.build();
    model.copy_metadata(of)?;
    Ok(model)
}

fn read(world: &World, step: &Object<'_>) -> Result<Value> {
    let model = world.model(step.text("model"));
    let (chunk, floats) = (step.number("chunk"), step.flag("floats"));
    model.prepare(world.resources())?;
    let mut tensors = Vec::new();
    for tensor in model {
        let total = if floats { tensor.count() } else { tensor.bytes() };
        let chunk = if chunk == 0 { total.max(1) } else { chunk };
        let mut digest = Digest::NONE;
        for at in (0..total).step_by(chunk as usize) {
            let n = chunk.min(total - at) as usize;
            if floats {
                let mut values = vec![0f32; n];
                tensor.read_floats(at, &mut values)?;
                digest.add(emr::as_bytes(&values));
            } else {
                let mut bytes = vec![0; n];
                tensor.read(at, &mut bytes)?;
                digest.add(&bytes);
            }
        }
        let shape: Vec<_> = tensor.shape().iter().map(u64::to_string).collect();
        let (name, dtype) = (tensor.name(), tensor.dtype());
        tensors.push(format!("{name} {dtype} [{}] {}", shape.join(","), digest.text()));
    }
    let metadata: Map<_, _> =
        model.all_metadata().into_iter().map(|(key, value)| (key.to_owned(), json!(value))).collect();
    Ok(json!({"tensors": tensors, "metadata": metadata}))
}

fn tell_roles(world: &World, step: &Object<'_>) -> Result<Value> {
    let mut roles = Vec::new();
    for tensor in world.model(step.text("model")) {
        let role = tensor.role()?;
        if role.role != emr::Role::Weight {
            let code = role.code.map_or("", |code| code.name());
            let can_dequantise = u32::from(role.can_dequantise);
            roles.push(json!([
                tensor.name(),
                role.role.name(),
                role.family.unwrap_or(""),
                code,
                can_dequantise
            ]));
        }
    }
    Ok(json!({ "roles": roles }))
}

fn is_gguf(step: &Object<'_>) -> bool {
    word_of(step.text("format"), &[("safetensors", false), ("gguf", true)])
}

fn write(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let model = world.model(step.text("model"));
    let options = WriteOptions { resources: world.resources(), ..Default::default() };
    let mut bytes = Vec::new();
    match is_gguf(step) {
        true => model.write_gguf(Output::writer(&mut bytes), options)?,
        false => model.write_safetensors(Output::writer(&mut bytes), options)?,
    }
    let result = json!({"bytes": bytes.len(), "digest": digest_of(&bytes)});
    keep_file(world, step, bytes);
    Ok(result)
}

fn open(world: &World, step: &Object<'_>) -> Result<Model<'static>> {
    let options = ReadOptions { dequantise: step.flag("dequantise"), ..Default::default() };
    let (name, file) = (step.text("model"), world.file(step.text("file")));
    match is_gguf(step) {
        true => Model::open_gguf(file, name, options),
        false => Model::open_safetensors(file, name, options),
    }
}

fn save(world: &mut World, step: &Object<'_>) -> Result<Value> {
    let path = world.path(step.text("path"));
    let options = WriteOptions {
        resources: world.resources(),
        shard_bytes: step.number("shard_bytes"),
        replace: step.flag("replace"),
        dtype: step.dtype("dtype"),
    };
    let written = world.model(step.text("model")).write(path, options)?;
    let digests = written.iter().map(|path| {
        let name = path.strip_prefix(world.folder()).expect("it is in the folder");
        let digest = digest_of(&std::fs::read(path).expect("it is there"));
        (name.display().to_string(), json!(digest))
    });
    Ok(json!({"files": digests.collect::<Map<_, _>>()}))
}

fn load(world: &mut World, step: &Object<'_>) -> Result<Model<'static>> {
    let options = ReadOptions {
        map: step.flag("map"),
        dequantise: step.flag("dequantise"),
        side_files: step.flag("side_files"),
    };
    Model::open_with(world.path(step.text("path")), options)
}

fn damage(world: &mut World, step: &Object<'_>) -> Value {
    let mut bytes = world.file(step.text("of"));
    if step.get("cut").is_some() {
        bytes.truncate(step.number("cut") as usize);
    }
    let at = step.get("at").and_then(Value::as_i64).unwrap_or(0);
    let at = if at < 0 { bytes.len() as i64 + at } else { at } as usize;
    bytes[at] ^= step.number("xor") as u8;
    keep_file(world, step, bytes)
}

fn agree(world: &World, step: &Object<'_>) -> Result<Value> {
    let models: Vec<_> = step.texts("models").into_iter().map(|name| (name, world.model(name))).collect();
    emr::adapters_agree(&models, &step.texts("differ")).map(|()| Value::Null)
}

fn convert(step: &Object<'_>) -> Result<Value> {
    let (from, to, count) = (dtype_of(step.text("from")), dtype_of(step.text("to")), step.number("count"));
    let mut out = vec![0; bytes_of(to.into(), count)];
    emr::convert(to, &mut out, from, &drawn(from, step.number("seed"), count))?;
    Ok(json!({"digest": digest_of(&out)}))
}

fn quantise(step: &Object<'_>) -> Result<Value> {
    let blocks = word_of(step.text("type"), &BLOCKS);
    let mut values = drawn_floats(step.number("seed"), step.number("count"));
    let mut bytes = vec![0; bytes_of(blocks.into(), values.len() as u64)];
    emr::quantise(blocks, &mut bytes, &values)?;
    emr::dequantise(blocks, &mut values, &bytes)?;
    Ok(json!({"blocks": digest_of(&bytes), "values": digest_of_floats(&values)}))
}

fn tell_names(step: &Object<'_>) -> Value {
    let names = step.texts("names").into_iter().map(|name| {
        let layer = emr::layer_of(name).map_or(-1, |layer| layer as i64);
        let dimension = emr::adapter_rank_dimension(name).map_or(-1, |dimension| dimension as i64);
        json!([layer, emr::kind_of(name), dimension])
    });
    json!({"names": names.collect::<Vec<_>>()})
}

fn match_globs(step: &Object<'_>) -> Value {
    let matches = step.array("globs").iter().map(|pair| {
        let (glob, name) = (text_of(&pair[0]), text_of(&pair[1]));
        u32::from(emr::glob_matches(glob, name))
    });
    json!({"matches": matches.collect::<Vec<_>>()})
}

fn tell_elementary(step: &Object<'_>) -> Value {
    let of = |function: fn(f64) -> f64| {
        step.array("values").iter().map(|value| real(function(real_of(value)))).collect::<Vec<_>>()
    };
    json!({"exp": of(emr::exp), "log": of(emr::ln)})
}

fn tell_constants() -> Value {
    let dtypes = Dtype::ALL.map(|dtype| json!([dtype.name(), dtype.bits(), u32::from(dtype.is_float())]));
    let statuses: Vec<_> = (0..=14).map(|status| ErrorKind::Unknown(-status).name()).collect();
    let blocks = BLOCKS.map(|(_, blocks)| json!([blocks.name(), blocks.bytes()]));
    json!({"dtypes": dtypes, "statuses": statuses, "blocks": blocks})
}

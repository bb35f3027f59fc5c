//! Model files: safetensors and GGUF, and adapters as the PEFT library saves them.

use crate::call::{call, callback_infallible};
use crate::dtype::Dtype;
use crate::error::Result;
use crate::handle::Handle;
use crate::input::Input;
use crate::model::Model;
use crate::output::Output;
use crate::resources::{Lowered, Resources};
use crate::text::{c_path, c_string, path_of};
use emr_sys as c;
use std::ffi::{c_char, c_void};
use std::path::{Path, PathBuf};

/// The tensor that a model opened from a GGUF file has besides the file's own: the file's header.
pub const GGUF_HEADER: &str = "gguf.header";

/// What the names of the tensors begin with that are files of a model's folder: `"file:config.json"`.
pub const FILE_PREFIX: &str = "file:";

/// How a checkpoint is opened. The default is as it lies in the file, and nothing beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadOptions {
    /// Map files into memory: faster, but the process is killed by SIGBUS where one shrinks meanwhile.
    pub map: bool,
    /// Tensors of GGUF's blocks and of codes in safetensors are F32, computed as they are read, and can be merged.
    pub dequantise: bool,
    /// The files beside the weights (`config.json`, tokenizers) are tensors too, see [`FILE_PREFIX`].
    pub side_files: bool,
}

impl ReadOptions {
    fn raw(self) -> c::emr_checkpoint_read_options {
        c::emr_checkpoint_read_options {
            map: self.map.into(),
            dequantise: self.dequantise.into(),
            side_files: self.side_files.into(),
            ..Default::default()
        }
    }
}

/// How a checkpoint is written.
#[derive(Default)]
pub struct WriteOptions<'a> {
    /// What it may use; memory 0: 64 MiB.
    pub resources: Resources<'a>,
    /// Start a new shard before a file's data grows past this; 0: one file.
    pub shard_bytes: u64,
    /// Replace files that exist.
    pub replace: bool,
    /// In a folder: the weights' type that config.json is to name where it names one.
    pub dtype: Option<Dtype>,
}

impl<'a> WriteOptions<'a> {
    /// The options but for resources, which are lowered.
    fn lower(self) -> Result<(c::emr_checkpoint_write_options, Lowered<'a>)> {
        let raw = c::emr_checkpoint_write_options {
            shard_bytes: self.shard_bytes,
            replace: self.replace.into(),
            dtype: Dtype::raw_or_none(self.dtype),
            ..Default::default()
        };
        Ok((raw, self.resources.lower()?))
    }
}

impl<'a> Model<'a> {
    /// Opens a checkpoint and reads its headers: a safetensors or GGUF file, an index with its shards, or a folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, ReadOptions::default())
    }

    /// The same with options.
    ///
    /// ```no_run
    /// # fn main() -> emr::Result<()> {
    /// let options = emr::ReadOptions { side_files: true, ..Default::default() };
    /// let model = emr::Model::open_with("models/french", options)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn open_with(path: impl AsRef<Path>, options: ReadOptions) -> Result<Self> {
        let path = c_path(path.as_ref())?;
        let options = options.raw();
        // SAFETY: valid arguments.
        let handle = Handle::make(|model, error| unsafe {
            c::emr_checkpoint_open(model, path.as_ptr(), &options, error)
        })?;
        Ok(Self::from_handle(handle, Vec::new()))
    }

    /// One safetensors file behind the host's own I/O; `name` is what messages call it.
    pub fn open_safetensors(input: impl Into<Input<'a>>, name: &str, options: ReadOptions) -> Result<Self> {
        Self::open_input(input.into(), name, options, c::emr_safetensors_open)
    }

    /// One GGUF file behind the host's own I/O.
    pub fn open_gguf(input: impl Into<Input<'a>>, name: &str, options: ReadOptions) -> Result<Self> {
        Self::open_input(input.into(), name, options, c::emr_gguf_open)
    }

    fn open_input(input: Input<'a>, name: &str, options: ReadOptions, f: OpenInput) -> Result<Self> {
        let (io, kept) = input.lower()?;
        let name = c_string(name)?;
        let options = options.raw();
        // SAFETY: valid arguments; the input is kept.
        let handle = Handle::make(|model, error| unsafe { f(model, &io, name.as_ptr(), &options, error) })?;
        Ok(Self::from_handle(handle, vec![kept]))
    }

    /// Writes it, in its order, to a file that ends in `.safetensors` or `.gguf`, or to a folder. Each file appears
    /// whole or not at all. Returns the files' paths.
    pub fn write(&self, path: impl AsRef<Path>, options: WriteOptions<'_>) -> Result<Vec<PathBuf>> {
        let path = c_path(path.as_ref())?;
        let (mut raw, resources) = options.lower()?;
        let lowered = resources.raw();
        let mut paths: Vec<PathBuf> = Vec::new();
        raw.resources = &lowered;
        raw.written = Some(written);
        raw.user = std::ptr::from_mut(&mut paths).cast();
        // SAFETY: valid arguments, which live during the call.
        call(|error| unsafe { c::emr_checkpoint_write(self.raw(), path.as_ptr(), &raw, error) })?;
        Ok(paths)
    }

    /// One safetensors file.
    pub fn write_safetensors(&self, output: Output<'_>, options: WriteOptions<'_>) -> Result<()> {
        self.write_output(output, options, c::emr_safetensors_write)
    }

    /// One GGUF file, of a model that has [`GGUF_HEADER`].
    pub fn write_gguf(&self, output: Output<'_>, options: WriteOptions<'_>) -> Result<()> {
        self.write_output(output, options, c::emr_gguf_write)
    }

    fn write_output(&self, output: Output<'_>, options: WriteOptions<'_>, f: WriteOutput) -> Result<()> {
        let output = output.open()?;
        let (mut raw, resources) = options.lower()?;
        let lowered = resources.raw();
        raw.resources = &lowered;
        // SAFETY: valid arguments, which live during the call.
        call(|error| unsafe { f(self.raw(), &output.io(), &raw, error) })?;
        output.finish()
    }
}

type OpenInput = unsafe extern "C" fn(
    *mut *mut c::emr_model,
    *const c::emr_io,
    *const c_char,
    *const c::emr_checkpoint_read_options,
    *mut c::emr_error,
) -> c::emr_status;

type WriteOutput = unsafe extern "C" fn(
    *const c::emr_model,
    *const c::emr_io,
    *const c::emr_checkpoint_write_options,
    *mut c::emr_error,
) -> c::emr_status;

unsafe extern "C" fn written(user: *mut c_void, path: *const c_char) {
    callback_infallible((), || {
        // SAFETY: the user that `write` set, on its thread; C's text.
        unsafe { (*user.cast::<Vec<PathBuf>>()).push(path_of(path)) };
    });
}

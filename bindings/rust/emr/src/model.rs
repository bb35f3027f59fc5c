//! Models: ordered sets of named tensors that can be read in any range.

use crate::builder::ModelBuilder;
use crate::call::{call, call_plain};
use crate::error::{Error, ErrorKind, Result};
use crate::handle::{keep, raw, Concurrent, Handle, Keep};
use crate::resources::Resources;
use crate::tensor::Tensor;
use crate::text::{c_string, c_text, optional_text, text};
use emr_sys as c;
use std::fmt;
use std::iter::FusedIterator;
use std::ptr::null;
use std::sync::Arc;

/// A model: an ordered set of named tensors, opened from a checkpoint, out of a bundle, or built of the host's memory,
/// readers and closures, which are borrowed as long as `'a`.
///
/// A model does not change, so it is read by any number of threads. Clones are the same model; it lives as long as
/// the last one, and as long as what was made of it: the order in which they are dropped does not matter.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// let weights = [1.0f32, 2.0, 3.0, 4.0];
/// let mut builder = emr::Model::builder("mine")?;
/// builder.add("layer.weight", &[2, 2], &weights)?;
/// let model = builder.build();
///
/// let tensor = model.get("layer.weight").unwrap();
/// assert_eq!((tensor.dtype(), tensor.shape()), (emr::Dtype::F32, &[2, 2][..]));
/// assert_eq!(tensor.to_floats()?, weights);
/// # Ok(())
/// # }
/// ```
///
/// What a model borrows outlives it:
///
/// ```compile_fail,E0597
/// let mut builder = emr::Model::builder("mine").unwrap();
/// {
///     let weights = vec![1.0f32];
///     builder.add("w", &[1], &weights).unwrap();
/// }
/// builder.build();
/// ```
///
/// Tensors do not outlive their model:
///
/// ```compile_fail,E0505
/// let model = emr::Model::open("model.safetensors").unwrap();
/// let tensor = model.tensor(0).unwrap();
/// drop(model);
/// tensor.name();
/// ```
#[derive(Clone)]
pub struct Model<'a>(Arc<Inner<'a>>);

struct Inner<'a> {
    handle: Handle<c::emr_model>,
    /// After the handle.
    _keep: Vec<Keep<'a>>,
}

raw!(emr_model, emr_model_destroy);
// SAFETY: calls that take it as const may run at the same time; those that change it are made while nobody shares it.
unsafe impl Concurrent for c::emr_model {}

impl<'a> Model<'a> {
    /// A model of the host's own; `name` is what messages call it.
    pub fn builder(name: &str) -> Result<ModelBuilder<'a>> {
        ModelBuilder::new(name)
    }

    pub(crate) fn from_handle(handle: Handle<c::emr_model>, keep: Vec<Keep<'a>>) -> Self {
        Self(Arc::new(Inner { handle, _keep: keep }))
    }

    /// For C, as const.
    pub(crate) fn raw(&self) -> *const c::emr_model {
        self.0.handle.get()
    }

    /// For C, to change it.
    pub(crate) fn raw_mut(&mut self) -> Result<*mut c::emr_model> {
        match Arc::get_mut(&mut self.0) {
            Some(inner) => Ok(inner.handle.get()),
            None => Err(Error::new(
                ErrorKind::State,
                format!("{}: the model is shared, so it cannot be changed", self.name()),
            )),
        }
    }

    /// A model named "zeros" with the float tensors of another one, all values +0: the base of models that were not
    /// fine-tuned from one, such as adapters. It does not need `like` afterwards.
    pub fn zeros_like(like: &Model<'_>) -> Result<Self> {
        // SAFETY: valid arguments.
        let handle = Handle::make(|model, error| unsafe {
            c::emr_model_create_zeros(model, like.raw(), null(), error)
        })?;
        Ok(Self::from_handle(handle, Vec::new()))
    }

    /// A model with the same tensors under other names: each rule is what a name was and what it is called; both with
    /// one `*`, which stands for any text, or both beginnings of names. The first rule that matches holds.
    ///
    /// ```
    /// # fn main() -> emr::Result<()> {
    /// # let mut builder = emr::Model::builder("mine")?;
    /// # builder.add("transformer.h.0.w", &[1], &[1.0f32])?;
    /// # let model = builder.build();
    /// let renamed = model.renamed(&[("transformer.h.*.w", "layers.*.weight")])?;
    /// assert!(renamed.get("layers.0.weight").is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn renamed(&self, rules: &[(&str, &str)]) -> Result<Self> {
        let texts: Vec<_> =
            rules.iter().map(|(from, to)| Ok((c_string(from)?, c_string(to)?))).collect::<Result<_>>()?;
        let rules: Vec<c::emr_rename> =
            texts.iter().map(|(from, to)| c::emr_rename { from: from.as_ptr(), to: to.as_ptr() }).collect();
        // SAFETY: valid arguments; the model is kept.
        let handle = Handle::make(|model, error| unsafe {
            c::emr_model_create_renamed(model, self.raw(), rules.as_ptr(), rules.len() as u32, null(), error)
        })?;
        Ok(Self::from_handle(handle, vec![keep(self.clone())]))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        // SAFETY: the model's text.
        unsafe { text(c::emr_model_name(self.raw())) }
    }

    /// How many tensors it has.
    pub fn len(&self) -> usize {
        // SAFETY: a valid model.
        unsafe { c::emr_model_n_tensors(self.raw()) as usize }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The i-th tensor, in the model's order.
    pub fn tensor(&self, i: usize) -> Option<Tensor<'_>> {
        let i = u32::try_from(i).ok()?;
        // SAFETY: a valid model, which the tensor borrows.
        unsafe { Tensor::at(c::emr_model_tensor(self.raw(), i)) }
    }

    /// The tensor of that name.
    pub fn get(&self, name: &str) -> Option<Tensor<'_>> {
        let name = c_string(name).ok()?;
        // SAFETY: a valid model, which the tensor borrows.
        unsafe { Tensor::at(c::emr_model_find_tensor(self.raw(), name.as_ptr())) }
    }

    /// The same, or the error that there is none.
    pub(crate) fn expect(&self, name: &str) -> Result<Tensor<'_>> {
        self.get(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("{}: no tensor '{name}'", self.name()))
                .about_file(self.name())
                .about_tensor(name)
        })
    }

    /// The tensors in order.
    pub fn iter(&self) -> Tensors<'_> {
        Tensors { model: self, range: 0..self.len() }
    }

    /// Finds out what computing each tensor needs, with threads and memory to spare; reading does it by itself where
    /// this was not called, one tensor after another.
    pub fn prepare(&self, resources: Resources<'_>) -> Result<()> {
        let resources = resources.lower()?;
        // SAFETY: valid arguments, which live during the call.
        call(|error| unsafe { c::emr_model_prepare(self.raw(), &resources.raw(), error) })
    }

    /// The value of a key of the metadata (safetensors' `__metadata__`).
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let key = c_string(key).ok()?;
        // SAFETY: the model's text, which lives until it is set, for which the model must not be borrowed.
        unsafe { optional_text(c::emr_model_find_metadata(self.raw(), key.as_ptr())) }
    }

    /// All metadata, in the order in which keys were added.
    pub fn all_metadata(&self) -> Vec<(&str, &str)> {
        // SAFETY: a valid model.
        let n = unsafe { c::emr_model_n_metadata(self.raw()) };
        (0..n).filter_map(|i| self.metadata_at(i)).collect()
    }

    fn metadata_at(&self, i: u32) -> Option<(&str, &str)> {
        let (mut key, mut value) = (null(), null());
        // SAFETY: valid outputs.
        call_plain(|| unsafe { c::emr_model_get_metadata(self.raw(), i, &mut key, &mut value) }).ok()?;
        // SAFETY: the model's texts.
        unsafe { Some((text(key), text(value))) }
    }

    /// Sets a key of the metadata. [`ErrorKind::State`] if the model is shared: has clones, or is in use by a bundle's
    /// task, a merge, ...
    pub fn set_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        let (key, value) = (c_string(key)?, c_string(value)?);
        let raw = self.raw_mut()?;
        // SAFETY: nobody else uses the model.
        call(|error| unsafe { c::emr_model_set_metadata(raw, key.as_ptr(), value.as_ptr(), error) })
    }

    /// Removes a key, and says whether it was there.
    pub fn remove_metadata(&mut self, key: &str) -> Result<bool> {
        let key = c_text(key);
        let raw = self.raw_mut()?;
        // SAFETY: nobody else uses the model.
        match call_plain(|| unsafe { c::emr_model_remove_metadata(raw, key.as_ptr()) }) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            done => done.map(|()| true),
        }
    }

    /// Sets all entries of another model.
    pub fn copy_metadata(&mut self, from: &Model<'_>) -> Result<()> {
        let raw = self.raw_mut()?;
        // SAFETY: nobody else uses the model; `from` is another one.
        call(|error| unsafe { c::emr_model_copy_metadata(raw, from.raw(), error) })
    }
}

/// For C, which may be given none.
pub(crate) fn raw_or_null(model: Option<&Model<'_>>) -> *const c::emr_model {
    model.map_or(null(), Model::raw)
}

impl fmt::Debug for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model").field("name", &self.name()).field("tensors", &self.len()).finish()
    }
}

impl<'m> IntoIterator for &'m Model<'_> {
    type Item = Tensor<'m>;
    type IntoIter = Tensors<'m>;

    fn into_iter(self) -> Tensors<'m> {
        self.iter()
    }
}

/// The tensors of a model, in its order.
#[derive(Clone)]
pub struct Tensors<'m> {
    model: &'m Model<'m>,
    range: std::ops::Range<usize>,
}

impl<'m> Iterator for Tensors<'m> {
    type Item = Tensor<'m>;

    fn next(&mut self) -> Option<Tensor<'m>> {
        self.model.tensor(self.range.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.range.size_hint()
    }
}

impl ExactSizeIterator for Tensors<'_> {}
impl FusedIterator for Tensors<'_> {}

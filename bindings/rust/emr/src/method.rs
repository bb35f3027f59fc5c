//! Merging methods: the library's, by name, and a program's own, and what there is to know of them.

use crate::error::Result;
use crate::input::slice;
use crate::merging_method::MergingMethod;
use crate::numbered::numbered;
use crate::own_method::OwnMethod;
use crate::text::{c_text, text};
use emr_sys as c;
use std::ffi::CString;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

numbered! {
    /// What a method does with a base.
    #[derive(Default)]
    pub enum MethodBase {
        /// None is needed; one that is there is one more input, before the tasks.
        #[default]
        Input = EMR_METHOD_BASE_INPUT,
        /// Inputs are the tasks' task vectors; what is computed is added to the base.
        Required = EMR_METHOD_BASE_REQUIRED,
        /// With a base as `Required`; without one, inputs are the tasks' weights.
        Optional = EMR_METHOD_BASE_OPTIONAL,
        /// Required; but inputs are the tasks' weights, and so is what is computed.
        Beside = EMR_METHOD_BASE_BESIDE,
    }
}

/// A number that a method can be told, for a task or for all.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// What it is where it is not set; none: it must be.
    pub initial: Option<f64>,
    /// What it may be.
    pub range: RangeInclusive<f64>,
    /// Whether each input may have another one.
    pub per_task: bool,
    /// Whether it is a whole number; from 0 to 1, a flag.
    pub is_whole: bool,
}

impl Parameter {
    fn of(raw: &c::emr_method_parameter) -> Self {
        Self {
            // SAFETY: a constant of the library's.
            name: unsafe { text(raw.name) }.to_owned(),
            initial: (!raw.initial.is_nan()).then_some(raw.initial),
            range: raw.least..=raw.most,
            per_task: raw.per_task != 0,
            is_whole: raw.is_whole != 0,
        }
    }

    pub(crate) fn lower(&self, name: &CString) -> c::emr_method_parameter {
        c::emr_method_parameter {
            name: name.as_ptr(),
            initial: self.initial.unwrap_or(f64::NAN),
            least: *self.range.start(),
            most: *self.range.end(),
            per_task: self.per_task.into(),
            is_whole: self.is_whole.into(),
        }
    }
}

/// What there is to know of a method.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MethodInfo {
    /// Its name; of the library's, mergekit's where that has the method.
    pub name: String,
    /// What it can be told.
    pub parameters: Vec<Parameter>,
    /// What it does with a base.
    pub base: MethodBase,
    /// The least number of tasks; 0: 1.
    pub min_tasks: u32,
    /// The largest number of tasks; 0: there is no limit.
    pub max_tasks: u32,
    /// Stages run over all combined tensors as if they were one, in the order of their names.
    pub whole_model: bool,
}

/// A merging method: one of the library's, or [a program's own](MergingMethod).
///
/// ```
/// let ties = emr::Method::find("ties").unwrap().info();
/// let names: Vec<_> = ties.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
/// assert!(names.contains(&"density"));
/// ```
#[derive(Clone)]
pub struct Method<'a>(Kind<'a>);

#[derive(Clone)]
enum Kind<'a> {
    Library(&'static LibraryMethod),
    Own(Arc<OwnMethod<'a>>),
}

#[repr(transparent)]
struct LibraryMethod(c::emr_method);

// SAFETY: the library's methods are constants.
unsafe impl Sync for LibraryMethod {}

impl<'a> Method<'a> {
    /// The library's method of that name.
    pub fn find(name: &str) -> Option<Self> {
        // SAFETY: a text that ends in a zero byte.
        Self::of_library(unsafe { c::emr_method_find(c_text(name).as_ptr()) })
    }

    /// All of the library's.
    pub fn all() -> impl Iterator<Item = Self> {
        // SAFETY: any number will do.
        (0..).map_while(|i| Self::of_library(unsafe { c::emr_method_at(i) }))
    }

    /// A method of the program's own.
    pub fn own(method: impl MergingMethod + 'a) -> Result<Self> {
        Ok(Self(Kind::Own(OwnMethod::new(Box::new(method))?)))
    }

    fn of_library(method: *const c::emr_method) -> Option<Self> {
        // SAFETY: null or a constant, of which `LibraryMethod` is another name.
        unsafe { method.cast::<LibraryMethod>().as_ref() }.map(|method| Self(Kind::Library(method)))
    }

    /// What there is to know of it.
    pub fn info(&self) -> MethodInfo {
        match &self.0 {
            Kind::Library(method) => info_of(&method.0),
            Kind::Own(method) => method.info.clone(),
        }
    }

    /// As C takes it; it lives as long as `self` and its clones.
    pub(crate) fn raw(&self) -> *const c::emr_method {
        match &self.0 {
            Kind::Library(method) => &method.0,
            Kind::Own(method) => &method.raw,
        }
    }
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Method").field(&self.info().name).finish()
    }
}

fn info_of(method: &c::emr_method) -> MethodInfo {
    // SAFETY: the library's constants.
    let parameters = unsafe { slice(method.parameters, method.n_parameters as usize) };
    MethodInfo {
        // SAFETY: likewise.
        name: unsafe { text(method.name) }.to_owned(),
        parameters: parameters.iter().map(Parameter::of).collect(),
        base: MethodBase::of(method.base),
        min_tasks: method.min_tasks,
        max_tasks: method.max_tasks,
        whole_model: method.whole_model != 0,
    }
}

//! The parts of a merge become its bundle.

use crate::call::call;
use crate::error::Result;
use crate::file::Buffer;
use crate::handle::{raw, Handle, Keep};
use crate::input::Input;
use crate::output::Output;
use crate::resources::{Lowered, Resources};
use crate::text::c_string;
use emr_sys as c;
use std::ffi::CString;
use std::fmt;
use std::ptr::null;

/// Parts of a merge ([`Merge::set_part`](crate::Merge::set_part)) that are to be joined into its bundle, to the last byte
/// what a merge without parts gives. No model is needed.
///
/// ```
/// # fn main() -> emr::Result<()> {
/// # fn model(name: &str, values: [f32; 4]) -> emr::Result<emr::Model<'static>> {
/// #     let mut builder = emr::Model::builder(name)?;
/// #     builder.add_owned("w", emr::Dtype::F32, &[4], emr::as_bytes(&values).to_vec())?;
/// #     Ok(builder.build())
/// # }
/// let mut parts = [Vec::new(), Vec::new()];
/// for (i, part) in parts.iter_mut().enumerate() {
///     let mut merge = emr::Merge::new(Default::default())?; // on a machine of its own
///     merge.set_base(&model("base", [0.0; 4])?)?;
///     merge.add_task("french", &model("french", [1.0, 2.0, -1.0, 0.0])?)?;
///     merge.set_part(i as u32, 2)?;
///     merge.run(emr::Output::writer(part))?;
/// }
/// let mut join = emr::Join::new(Default::default())?;
/// for part in &parts {
///     join.add_part(&part[..], None)?; // or emr::File::open("3.part")?
/// }
/// let bundle = emr::Bundle::open_input(join.run_in_memory()?, None)?;
/// assert_eq!(bundle.tasks().len(), 1);
/// # Ok(())
/// # }
/// ```
pub struct Join<'a> {
    handle: Handle<c::emr_join>,
    /// Behind the handle, which borrows these.
    parts: Vec<Keep<'a>>,
    _resources: Lowered<'a>,
}

raw!(emr_join, emr_join_destroy);

impl<'a> Join<'a> {
    /// Without parts.
    pub fn new(resources: Resources<'a>) -> Result<Self> {
        let resources = resources.lower()?;
        let lowered = resources.raw();
        // SAFETY: the resources, which are copied and kept.
        let handle = Handle::make(|join, error| unsafe { c::emr_join_create(join, &lowered, error) })?;
        Ok(Self { handle, parts: Vec::new(), _resources: resources })
    }

    /// One of the parts, in any order; `name` is what messages call it.
    pub fn add_part(&mut self, part: impl Into<Input<'a>>, name: Option<&str>) -> Result<()> {
        let (io, kept) = part.into().lower()?;
        let name = name.map(c_string).transpose()?;
        let name = name.as_ref().map_or(null(), |name: &CString| name.as_ptr());
        self.parts.push(kept);
        // SAFETY: C copies the table; what it points to is kept.
        call(|error| unsafe { c::emr_join_add_part(self.handle.get(), &io, name, error) })
    }

    /// Writes the bundle. [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) where a part is missing.
    pub fn run(self, output: Output<'_>) -> Result<()> {
        let output = output.open()?;
        let io = output.io();
        // SAFETY: C copies the table; the output outlives the handle.
        call(|error| unsafe { c::emr_join_set_output(self.handle.get(), &io, error) })?;
        // SAFETY: all that was set is kept.
        call(|error| unsafe { c::emr_join_run(self.handle.get(), error) })?;
        drop(self);
        output.finish()
    }

    /// The same into memory.
    pub fn run_in_memory(self) -> Result<Buffer> {
        let buffer = Buffer::new()?;
        self.run(Output::buffer(buffer.clone()))?;
        Ok(buffer)
    }
}

impl fmt::Debug for Join<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("parts", &self.parts.len()).finish_non_exhaustive()
    }
}

//! Adapters as the PEFT library saves them.

use crate::call::call;
use crate::error::Result;
use crate::handle::{keep, Handle};
use crate::model::Model;
use crate::resources::Resources;
use crate::text::{c_string, CStrings};
use emr_sys as c;
use std::ptr::null;

/// The key of a model's metadata that has the text of an adapter's adapter_config.json.
pub const ADAPTER_CONFIG: &str = "adapter_config.json";

/// Whether adapters can be merged: each with what messages call it (`"task 'french'"`). All that configurations say
/// must agree, but for what C's `emr/adapter.h` lists, and the keys in `differ`.
pub fn adapters_agree(adapters: &[(&str, &Model<'_>)], differ: &[&str]) -> Result<()> {
    let names = CStrings::new(adapters.iter().map(|(name, _)| name))?;
    let models: Vec<*const c::emr_model> = adapters.iter().map(|(_, model)| model.raw()).collect();
    let keys = CStrings::new(differ)?;
    let options =
        c::emr_agree_options { differ: keys.as_ptr(), n_differ: differ.len(), ..Default::default() };
    // SAFETY: valid arguments; arrays of as many elements.
    call(|error| unsafe {
        c::emr_adapters_agree(models.as_ptr(), names.as_ptr(), models.len(), &options, error)
    })
}

/// The dimension of a LoRA tensor that is its rank, by the tensor's name: 0 in A, 1 in B.
///
/// ```
/// assert_eq!(emr::adapter_rank_dimension("layers.0.q_proj.lora_A.weight"), Some(0));
/// assert_eq!(emr::adapter_rank_dimension("layers.0.q_proj.weight"), None);
/// ```
pub fn adapter_rank_dimension(name: &str) -> Option<usize> {
    let name = c_string(name).ok()?;
    // SAFETY: a text that ends in a zero byte.
    usize::try_from(unsafe { c::emr_adapter_rank_dimension(name.as_ptr()) }).ok()
}

impl<'a> Model<'a> {
    /// The base of adapters that leave a model as it is: zeros, and ones for the vectors that (IA)^3 multiplies by.
    pub fn ones_like(like: &Model<'_>) -> Result<Self> {
        // SAFETY: valid arguments.
        let handle = Handle::make(|model, error| unsafe {
            c::emr_adapter_create_ones(model, like.raw(), null(), error)
        })?;
        Ok(Self::from_handle(handle, Vec::new()))
    }

    /// What this model becomes with an adapter, computed as it is read: LoRA, DoRA, (IA)^3.
    pub fn with_adapter(&self, adapter: &Model<'a>, resources: Resources<'_>) -> Result<Self> {
        let resources = resources.lower()?;
        // SAFETY: valid arguments; both models are kept.
        let handle = Handle::make(|model, error| unsafe {
            c::emr_adapter_apply(model, self.raw(), adapter.raw(), &resources.raw(), error)
        })?;
        Ok(Self::from_handle(handle, vec![keep(self.clone()), keep(adapter.clone())]))
    }
}

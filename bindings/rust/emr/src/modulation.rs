//! How a task is coded beside the base.

use crate::dtype::Dtype;
use crate::numbered::numbered;
use emr_sys as c;

numbered! {
    /// How a task is coded. docs/modulators.md has the formulas and says which kind is for what.
    #[derive(Default)]
    pub enum ModulatorKind {
        /// A mask.
        #[default]
        Default = EMR_MODULATOR_KIND_DEFAULT,
        /// A bit a parameter: a scale times the unified task vector, or nothing (EMR-Merging).
        Mask = EMR_MODULATOR_KIND_MASK,
        /// The same bit: one scale times the unified task vector, or another with the sign turned.
        TwoSided = EMR_MODULATOR_KIND_TWO_SIDED,
        /// A bit, and nothing shared: the sign of the change, times a row's and a column's scale.
        Sign = EMR_MODULATOR_KIND_SIGN,
        /// The same at one of 2 to 32 positions, which are drawn and so not stored.
        Thin = EMR_MODULATOR_KIND_THIN,
        /// One of 3, 4, 8 or 16 levels, times a row's scale.
        Levels = EMR_MODULATOR_KIND_LEVELS,
    }
}

numbered! {
    /// How scales are computed.
    #[derive(Default)]
    pub enum Rescale {
        /// What measured best for the kind; for masks L1.
        #[default]
        Default = EMR_RESCALE_DEFAULT,
        /// Sum of magnitudes of the task vector over that of what replaces it (the paper).
        L1 = EMR_RESCALE_L1,
        /// The same of means, tensor by tensor (the authors' program).
        L1Means = EMR_RESCALE_L1_MEANS,
        /// The least squared error.
        L2 = EMR_RESCALE_L2,
        /// The same length.
        Norm = EMR_RESCALE_NORM,
        /// The same projection on the task vector, at most 4 times L2's.
        Unbiased = EMR_RESCALE_UNBIASED,
        /// Thin: between L1 and Unbiased.
        Mixed = EMR_RESCALE_MIXED,
    }
}

numbered! {
    /// What shares a scale, of kinds with a unified vector.
    #[derive(Default)]
    pub enum RescalePer {
        /// Masks that agree: the model; other masks: the row.
        #[default]
        Default = EMR_RESCALE_PER_DEFAULT,
        /// All of the model (the paper).
        Model = EMR_RESCALE_PER_MODEL,
        /// A tensor.
        Tensor = EMR_RESCALE_PER_TENSOR,
        /// An index of the first dimension.
        Row = EMR_RESCALE_PER_ROW,
    }
}

numbered! {
    /// Where a bit of a mask is 1.
    #[derive(Default)]
    pub enum MaskRule {
        /// The change and the unified value have the same sign (the paper).
        #[default]
        Agree = EMR_MASK_RULE_AGREE,
        /// And the change is nearer to the unified value than to 0.
        Nearest = EMR_MASK_RULE_NEAREST,
    }
}

/// A kind with its parameters; zero and `Default` are the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modulation {
    /// The kind.
    pub kind: ModulatorKind,
    /// Thin: parameters for each one that is kept, 2, 4, 8, 16 or 32; 0: 4.
    pub thinning: u32,
    /// Levels: 3, 4, 8 or 16; 0: 4.
    pub n_levels: u32,
    /// How scales are computed. All tasks with a unified vector have the same one,
    pub rescale: Rescale,
    /// and this,
    pub rescale_per: RescalePer,
    /// and this.
    pub mask_rule: MaskRule,
    /// Of what kinds without a unified vector keep as differences: BF16 (the default) or F32.
    pub vectors_dtype: Option<Dtype>,
    /// Sign: no scales of columns.
    pub without_columns: bool,
    /// Thin: of the positions; 0: from the task's name.
    pub seed: u32,
}

impl From<ModulatorKind> for Modulation {
    fn from(kind: ModulatorKind) -> Self {
        Self { kind, ..Self::default() }
    }
}

impl Modulation {
    pub(crate) fn raw(&self) -> c::emr_modulation_spec {
        c::emr_modulation_spec {
            kind: self.kind.raw(),
            thinning: self.thinning,
            n_levels: self.n_levels,
            rescale: self.rescale.raw(),
            rescale_per: self.rescale_per.raw(),
            mask_rule: self.mask_rule.raw(),
            vectors_dtype: Dtype::raw_or_none(self.vectors_dtype),
            without_columns: self.without_columns.into(),
            seed: self.seed,
            ..Default::default()
        }
    }

    pub(crate) fn of(raw: &c::emr_modulation_spec) -> Self {
        Self {
            kind: ModulatorKind::of(raw.kind),
            thinning: raw.thinning,
            n_levels: raw.n_levels,
            rescale: Rescale::of(raw.rescale),
            rescale_per: RescalePer::of(raw.rescale_per),
            mask_rule: MaskRule::of(raw.mask_rule),
            vectors_dtype: Dtype::of(raw.vectors_dtype),
            without_columns: raw.without_columns != 0,
            seed: raw.seed,
        }
    }
}

/// How near a task's rebuilt vector comes to its task vector, over all merged tensors. NaN: not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fidelity {
    /// Squared length of the difference over that of the task vector.
    pub error: f32,
    /// The cosine of the angle between both.
    pub cosine: f32,
    /// The projection on the task vector; below 1, the task's change is too short.
    pub coefficient: f32,
}

impl Fidelity {
    pub(crate) fn of(raw: &c::emr_fidelity) -> Self {
        Self { error: raw.error, cosine: raw.cosine, coefficient: raw.coefficient }
    }
}

//! The exponential and the logarithm.

use emr_sys as c;

/// e to the power of `x`: infinity above 709.78, 0 below −745.13. For methods and losses of the host's own: the same bits
/// on every machine, which [`f64::exp`] does not promise.
///
/// ```
/// assert!((emr::exp(1.0) - std::f64::consts::E).abs() < 1e-15);
/// assert_eq!(emr::exp(f64::NEG_INFINITY), 0.0);
/// ```
pub fn exp(x: f64) -> f64 {
    // SAFETY: any number will do.
    unsafe { c::emr_exp(x) }
}

/// The natural logarithm, likewise: −infinity of 0, NaN below.
///
/// ```
/// assert_eq!(emr::ln(1.0), 0.0);
/// assert!(emr::ln(-1.0).is_nan());
/// ```
pub fn ln(x: f64) -> f64 {
    // SAFETY: any number will do.
    unsafe { c::emr_log(x) }
}

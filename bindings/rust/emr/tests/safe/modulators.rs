//! Modulators.

use crate::given::{self, base};
use emr::{as_bytes, as_bytes_mut, Application, Codes, Dtype, ErrorKind, Modulator, ModulatorKind};

#[test]
fn a_bundles_modulator_gives_the_models_weights() {
    let bundle = given::bundle();
    let base = base();
    let task = bundle.task("french").unwrap();
    let expected = task.open(Some(&base)).unwrap();
    let mut modulator = task.modulator().unwrap();
    assert_eq!((modulator.len(), modulator.is_empty()), (2, false));
    let tensor = modulator.find("w").unwrap();
    assert_eq!((modulator.tensor_name(tensor), modulator.tensor_name(9)), (Some("w"), None));
    assert_eq!((modulator.tensor_count(tensor), modulator.n_rescalers(tensor)), (96 * 700, 1));
    assert_eq!(modulator.find("v"), None);
    let weights = base.get("w").unwrap().to_floats().unwrap();
    let mut out = vec![0.0; 1000];
    let mut apply = |first: usize, out: &mut [f32]| {
        modulator.apply(Application {
            tensor,
            first: first as u64,
            base: Some((Dtype::F32, as_bytes(&weights[first..]))),
            out: (Dtype::F32, as_bytes_mut(out)),
        })
    };
    apply(5000, &mut out).unwrap();
    assert_eq!(out, expected.get("w").unwrap().to_floats().unwrap()[5000..6000]);
    assert_eq!(apply(96 * 700 - 999, &mut out).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let mut rescaler = [0.0];
    modulator.read_rescalers(tensor, 0, &mut rescaler).unwrap();
    assert_eq!(rescaler[0], task.info().unwrap().rescaler);
    assert!(modulator.add("x", Codes::default()).is_err());
}

#[test]
fn the_change_alone_comes_without_a_base() {
    let unified = [1f32, -2.0, 3.0];
    let mut modulator = Modulator::new().unwrap();
    let codes = Codes {
        unified: Some((Dtype::F32, as_bytes(&unified))),
        mask: &[0b110],
        rescalers: &[2.0],
        count: 3,
        ..Default::default()
    };
    modulator.add("w", codes).unwrap();
    let mut out = [9f32; 3];
    let out_bytes = (Dtype::F32, as_bytes_mut(&mut out));
    modulator.apply(Application { tensor: 0, first: 0, base: None, out: out_bytes }).unwrap();
    assert_eq!(out, [0.0, -4.0, 6.0]);
    assert_eq!(modulator.stats(0).unwrap().ones, 2);
}

#[test]
fn memory_that_is_too_short_is_refused() {
    let (unified, columns, rescalers) = ([0u8; 400], [0u8; 50], [1f32; 8]);
    let whole = Codes {
        unified: Some((Dtype::F32, &unified)),
        mask: &[0; 13],
        rescalers: &rescalers[..4],
        count: 100,
        ..Default::default()
    };
    let without = Codes { unified: None, ..whole };
    Modulator::new().unwrap().add("w", whole).unwrap();
    let sign = Codes { kind: ModulatorKind::Sign, columns: Some(&columns), ..without };
    Modulator::new().unwrap().add("w", sign).unwrap();
    let mut modulator = Modulator::new().unwrap();
    let refused = [
        Codes { mask: &[0; 12], ..whole },
        Codes { unified: Some((Dtype::F32, &unified[1..])), ..whole },
        Codes { rescalers: &rescalers[..3], ..whole },
        Codes { rescalers: &[], ..whole },
        Codes { columns: Some(&columns[1..]), ..sign },
        Codes { kind: ModulatorKind::Levels, ..without },
        Codes { kind: ModulatorKind::Levels, n_levels: 16, mask: &[0; 49], ..without },
        Codes { kind: ModulatorKind::Thin, thinning: 2, mask: &[0; 7], ..without },
        Codes { kind: ModulatorKind::Thin, thinning: 7, mask: &[0; 100], ..without },
        Codes { count: u64::MAX, ..without },
    ];
    for codes in refused {
        let error = modulator.add("w", codes).unwrap_err();
        assert_eq!((error.kind(), error.tensor()), (ErrorKind::InvalidArgument, Some("w")), "{codes:?}");
    }
    assert!(modulator.is_empty());
}

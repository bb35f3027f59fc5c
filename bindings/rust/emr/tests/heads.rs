//! Heads of tasks side by side, and the softmax of their groups.

#[allow(dead_code)] // no test needs all of it
mod worlds;

use emr::{Dtype, ErrorKind, HeadGroup, HeadKind, Heads};
use worlds::{classifiers, draws, model};

#[test]
fn views_have_the_rows_of_all() -> emr::Result<()> {
    let [parity, sign] = classifiers()?;
    let heads = Heads::new(&["classifier.*"], &[("parity", &parity), ("sign", &sign)])?;
    assert_eq!(heads.n_rows(), 5);
    assert_eq!(heads.tensors().collect::<Vec<_>>(), ["classifier.weight", "classifier.bias"]);
    assert_eq!(
        heads.groups(),
        [("parity", 0, 2), ("sign", 2, 3)].map(|(task, first, count)| HeadGroup {
            task: task.into(),
            first,
            count,
            kind: HeadKind::Softmax
        })
    );
    assert_eq!(heads.group(2).unwrap_err().kind(), ErrorKind::NotFound);

    let own = sign.get("classifier.bias").unwrap().to_floats()?;
    let (view, joined) = (heads.open_task(1)?, heads.open_joined(Some(Dtype::F64))?);
    let base = heads.open_base(&parity)?;
    drop((heads, parity, sign)); // what was opened keeps what it needs
    assert_eq!(view.get("classifier.bias").unwrap().to_floats()?, [&[0.0, 0.0], &own[..]].concat());
    assert_eq!(base.get("classifier.weight").unwrap().to_floats()?, [0.0; 20]);
    let joined = joined.get("classifier.bias").unwrap();
    assert_eq!((joined.dtype(), &joined.to_floats()?[2..]), (Dtype::F64, &own[..]));
    Ok(())
}

#[test]
fn groups_are_told_in_metadata() -> emr::Result<()> {
    let [parity, sign] = classifiers()?;
    let kinds = [HeadKind::Softmax, HeadKind::Sigmoid];
    let heads = Heads::with_kinds(&["classifier.*"], &[("parity", &parity), ("sign", &sign)], &kinds)?;
    let mut joined = heads.open_joined(None)?;
    heads.set_metadata(&mut joined)?;
    let told = joined.metadata(emr::HEAD_GROUPS).unwrap();
    assert!(told.contains(r#""task": "sign""#) && told.contains("sigmoid"), "{told}");
    let shared = joined.clone();
    assert_eq!(heads.set_metadata(&mut joined).unwrap_err().kind(), ErrorKind::State);
    drop(shared);
    Ok(())
}

#[test]
fn heads_that_cannot_be_are_errors() -> emr::Result<()> {
    let [parity, sign] = classifiers()?;
    let tasks = [("parity", &parity), ("sign", &sign)];
    assert_eq!(Heads::new(&["no.such"], &tasks).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(Heads::new(&["classifier.*"], &[]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let kinds = Heads::with_kinds(&["classifier.*"], &tasks, &[HeadKind::Identity]);
    assert_eq!(kinds.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let twice = Heads::new(&["classifier.*"], &[("parity", &parity), ("parity", &sign)]).unwrap_err();
    assert_eq!((twice.kind(), twice.task()), (ErrorKind::Exists, Some("parity")));
    let bare = model("bare", &[("body.weight", &[4, 4], draws(1, 16))])?;
    let lacking = Heads::new(&["classifier.*"], &[("parity", &parity), ("bare", &bare)]).unwrap_err();
    assert_eq!(lacking.kind(), ErrorKind::Mismatch);
    assert!(lacking.message().contains("'bare'"), "{lacking}");
    Ok(())
}

fn group(first: u64, count: u64, kind: HeadKind) -> HeadGroup {
    HeadGroup { first, count, kind, ..Default::default() }
}

#[test]
fn a_softmax_is_of_each_group() -> emr::Result<()> {
    let groups =
        [group(0, 2, HeadKind::Softmax), group(2, 1, HeadKind::Sigmoid), group(3, 1, HeadKind::Identity)];
    let logits = [1.0f32, 2.0, 0.5, -3.0, 0.0, 0.0, 0.0, 4.0];
    let mut out = [0.0; 8];
    emr::group_softmax(&logits, 4, &groups, &mut out)?;
    let e = |x: f64| x.exp();
    let want = [e(1.0) / (e(1.0) + e(2.0)), e(2.0) / (e(1.0) + e(2.0)), 1.0 / (1.0 + e(-0.5)), -3.0];
    for (got, want) in out.iter().zip(want.into_iter().chain([0.5, 0.5, 0.5, 4.0])) {
        assert!((f64::from(*got) - want).abs() < 1e-7, "{got} {want}");
    }
    let mut in_place = logits;
    emr::group_softmax_in_place(&mut in_place, 0, &groups)?; // as many as the groups reach to
    assert_eq!(in_place, out);
    Ok(())
}

#[test]
fn a_softmax_stays_where_it_may_write() {
    let groups = [group(0, 3, HeadKind::Softmax)];
    let refused =
        |result: emr::Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidArgument);
    refused(emr::group_softmax(&[0.0; 6], 3, &groups, &mut [0.0; 5]));
    refused(emr::group_softmax(&[0.0; 7], 3, &groups, &mut [0.0; 7]));
    refused(emr::group_softmax(&[0.0; 6], 2, &groups, &mut [0.0; 6]));
    refused(emr::group_softmax(&[0.0; 6], 0, &[group(u64::MAX, 2, HeadKind::Softmax)], &mut [0.0; 6]));
    refused(emr::group_softmax(&[0.0; 6], 3, &[group(1, 0, HeadKind::Softmax)], &mut [0.0; 6]));
}

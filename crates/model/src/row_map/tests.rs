#![allow(clippy::unwrap_used)]

use super::RowMap;
use crate::expr::{Expr, ExprError, Pointwise, halves_from_interleaved, interleave_halves};

fn shapes(name: &str) -> Option<Vec<u64>> {
    match name {
        "q" => Some(vec![8, 5]),
        "b" => Some(vec![8]),
        "k" => Some(vec![4, 5]),
        "conv" => Some(vec![6, 3]),
        "experts" => Some(vec![2, 6, 5]),
        "claims" => Some(vec![1 << 26, 0]),
        _ => None,
    }
}

fn order(map: &RowMap) -> Vec<u64> {
    (0..map.rows()).map(|i| map.locate(i).unwrap().1).collect()
}

#[test]
fn rotary_rows_interleave_and_come_back() {
    let to = interleave_halves(Expr::tensor("q"), 2, 4, Some(5));
    let map = RowMap::compile(&to, &shapes).unwrap();
    assert_eq!(order(&map), [0, 2, 1, 3, 4, 6, 5, 7], "rows i and i + 2 of each head become neighbours");
    assert!(map.only_moves_rows() && map.identity(&shapes).is_none());
    let back = RowMap::compile(&halves_from_interleaved(to, 2, 4, Some(5)), &shapes).unwrap();
    assert_eq!(back.identity(&shapes), Some("q"));
}

#[test]
fn a_bias_is_permuted_by_single_values() {
    let map = RowMap::compile(&interleave_halves(Expr::tensor("b"), 2, 4, None), &shapes).unwrap();
    assert_eq!((map.columns, map.shape.clone()), (1, vec![8]));
    assert_eq!(order(&map), [0, 2, 1, 3, 4, 6, 5, 7]);
}

#[test]
fn concat_split_and_stack_move_rows() {
    let fused = Expr::Concat { axis: 0, parts: vec![Expr::tensor("q"), Expr::tensor("k")] };
    let k = RowMap::compile(&fused.clone().slice(0, 8, 4), &shapes).unwrap();
    assert_eq!(k.identity(&shapes), Some("k"));
    assert_eq!(RowMap::compile(&fused, &shapes).unwrap().segments.len(), 2);
    let up = RowMap::compile(&Expr::tensor("experts").slice(1, 3, 3), &shapes).unwrap();
    assert_eq!((up.shape.clone(), order(&up)), (vec![2, 3, 5], vec![3, 4, 5, 9, 10, 11]));
    let stack = Expr::Stack { parts: vec![Expr::tensor("k"), Expr::tensor("k")] };
    assert_eq!(RowMap::compile(&stack, &shapes).unwrap().shape, [2, 4, 5]);
}

#[test]
fn a_function_cancels_against_its_inverse() {
    let one = Expr::tensor("conv").map(Pointwise::Add(1.0));
    let map = RowMap::compile(&one, &shapes).unwrap();
    assert_eq!(map.sources[map.segments[0].source].ops, [Pointwise::Add(1.0)]);
    assert!(!map.only_moves_rows());
    let back = RowMap::compile(&one.reshape([6, 1, 3]).map(Pointwise::Add(-1.0)), &shapes).unwrap();
    assert_eq!(back.identity(&shapes), Some("conv"));
}

#[test]
fn what_does_not_fit_is_said() {
    let missing = RowMap::compile(&Expr::tensor("nobody"), &shapes);
    assert_eq!(missing, Err(ExprError::MissingTensor { name: "nobody".into() }));
    let wide = RowMap::compile(&Expr::tensor("q").slice(0, 6, 4), &shapes);
    assert!(matches!(wide, Err(ExprError::DoesNotFit { op: "slice", .. })), "{wide:?}");
    let unlike = Expr::Concat { axis: 0, parts: vec![Expr::tensor("q"), Expr::tensor("conv")] };
    assert!(matches!(RowMap::compile(&unlike, &shapes), Err(ExprError::UnlikeParts { .. })));
    let reshaped = RowMap::compile(&Expr::tensor("q").reshape([7, 5]), &shapes);
    assert!(matches!(reshaped, Err(ExprError::DoesNotFit { op: "reshape", .. })), "{reshaped:?}");
    let unlike = Expr::Stack { parts: vec![Expr::tensor("q"), Expr::tensor("k")] };
    assert!(matches!(RowMap::compile(&unlike, &shapes), Err(ExprError::UnlikeParts { op: "stack", .. })));
    let empty = RowMap::compile(&Expr::tensor("claims"), &shapes);
    assert_eq!(empty, Err(ExprError::Empty { shape: vec![1 << 26, 0] }));
}

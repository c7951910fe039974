//! The order of stages, and circles in it.

use crate::schedule::{Progress, ready};

/// An order in which every stage comes after what it needs, as close to the written order as possible; or a circle,
/// first stage repeated at the end.
///
/// `needs[i]` are the stages that stage `i` waits for.
pub fn order(needs: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut order = Vec::new();
    let mut progress = vec![Progress::Waiting; needs.len()];
    while let Some(&next) = ready(needs, &progress).first() {
        progress[next] = Progress::Done;
        order.push(next);
    }
    if order.len() == needs.len() { Ok(order) } else { Err(circle(needs, &progress)) }
}

/// Follows unmet needs until one comes again. Every stage that is not done has one, so this ends.
fn circle(needs: &[Vec<usize>], progress: &[Progress]) -> Vec<usize> {
    let stuck = |&i: &usize| progress[i] != Progress::Done;
    let mut path: Vec<usize> = (0..needs.len()).filter(stuck).take(1).collect();
    while let Some(next) = path.last().and_then(|&at| needs[at].iter().copied().find(stuck)) {
        if let Some(start) = path.iter().position(|&p| p == next) {
            path.drain(..start);
            path.push(next);
            break;
        }
        path.push(next);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_come_first_and_the_written_order_is_kept() {
        assert_eq!(order(&[vec![], vec![], vec![]]), Ok(vec![0, 1, 2]));
        assert_eq!(order(&[vec![2], vec![], vec![1]]), Ok(vec![1, 2, 0]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_circle_is_named_without_what_only_leads_to_it() {
        assert_eq!(order(&[vec![0]]), Err(vec![0, 0]));
        assert_eq!(order(&[vec![1], vec![2], vec![3], vec![2]]), Err(vec![2, 3, 2]));
    }
}

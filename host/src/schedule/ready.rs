//! Which stages can start. Pure: the graph and how far each stage is, nothing else.

/// How far a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not started.
    Waiting,
    /// At work.
    Running,
    /// Its outputs are there.
    Done,
    /// It failed, so nothing that needs it will start.
    Failed,
}

/// Stages that can start now, in order. `needs[i]` are the stages that stage `i` waits for.
pub fn ready(needs: &[Vec<usize>], progress: &[Progress]) -> Vec<usize> {
    let can_start =
        |i: &usize| progress[*i] == Progress::Waiting && needs[*i].iter().all(|&need| progress[need] == Progress::Done);
    (0..needs.len()).filter(can_start).collect()
}

#[cfg(test)]
mod tests {
    use super::Progress::{Done, Failed, Running, Waiting};
    use super::*;

    /// A diamond: 1 and 2 need 0, 3 needs both; 4 stands alone.
    fn check(progress: [Progress; 5], expected: &[usize]) {
        let needs = [vec![], vec![0], vec![0], vec![1, 2], vec![]];
        assert_eq!(ready(&needs, &progress), expected, "{progress:?}");
    }

    #[test]
    fn the_diamond() {
        check([Waiting, Waiting, Waiting, Waiting, Waiting], &[0, 4]);
        check([Running, Waiting, Waiting, Waiting, Waiting], &[4]);
        check([Done, Waiting, Waiting, Waiting, Done], &[1, 2]);
        check([Done, Done, Running, Waiting, Done], &[]);
        check([Done, Done, Done, Waiting, Done], &[3]);
        check([Done, Failed, Done, Waiting, Waiting], &[4]);
        check([Done, Done, Done, Done, Done], &[]);
    }
}

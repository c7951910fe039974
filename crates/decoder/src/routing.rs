//! Which expert each token goes to, and where: tokens sorted by expert.
//!
//! Every choice of a token is a *slot*. An expert's slots lie side by side in the order of their tokens and begin at a
//! multiple of [`GROUP`], so that an expert's product reads whole vectors. How many slots there are depends on the
//! number of tokens alone, not on what they chose: memory can be planned.

use std::ops::Range;

/// Slots of an expert begin at a multiple of this.
pub const GROUP: usize = 16;

/// Tokens sorted by expert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routing {
    experts: usize,
    per_token: usize,
    /// Token by token: the experts, greatest logit first.
    chosen: Vec<u32>,
    /// Of each choice, in the same order.
    slots: Vec<u32>,
    groups: Vec<Group>,
}

/// An expert that has tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its number.
    pub expert: usize,
    /// Its slots.
    pub slots: Range<usize>,
}

impl Routing {
    /// Sorts `chosen`, which has `per_token` experts for every token, each below `experts`.
    pub fn new(chosen: Vec<u32>, per_token: usize, experts: usize) -> Self {
        let mut counts = vec![0; experts];
        chosen.iter().for_each(|expert| counts[*expert as usize] += 1);
        let (mut groups, mut next, mut at) = (Vec::new(), vec![0; experts], 0);
        for (expert, count) in counts.into_iter().enumerate().filter(|(_, count)| *count > 0) {
            next[expert] = at;
            groups.push(Group { expert, slots: at..at + count });
            at += count.next_multiple_of(GROUP);
        }
        let mut slot = |expert: &u32| {
            let slot = &mut next[*expert as usize];
            *slot += 1;
            (*slot - 1) as u32
        };
        let slots = chosen.iter().map(&mut slot).collect();
        Self { experts, per_token, chosen, slots, groups }
    }

    /// How many experts there are.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Experts of a token.
    pub fn per_token(&self) -> usize {
        self.per_token
    }

    /// Tokens times experts of each.
    pub fn choices(&self) -> usize {
        self.chosen.len()
    }

    /// Token by token: the experts, greatest logit first.
    pub fn chosen(&self) -> &[u32] {
        &self.chosen
    }

    /// The slot of each choice.
    pub fn slots(&self) -> &[u32] {
        &self.slots
    }

    /// Experts that have tokens, in order.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The number of slots, with those that no token has: enough for any choice of as many tokens.
    pub fn slot_count(&self) -> usize {
        (self.choices() + (GROUP - 1) * self.experts.min(self.choices())) / GROUP * GROUP
    }

    /// The choice that has each slot.
    pub fn choice_of_slots(&self) -> Vec<Option<usize>> {
        let mut of_slots = vec![None; self.slot_count()];
        self.slots.iter().enumerate().for_each(|(choice, slot)| of_slots[*slot as usize] = Some(choice));
        of_slots
    }

    /// The token of each slot; a slot that nobody has shows the first token, and what becomes of it is ignored.
    pub fn tokens_of_slots(&self) -> Vec<usize> {
        self.choice_of_slots().into_iter().map(|choice| choice.map_or(0, |choice| choice / self.per_token)).collect()
    }
}

/// Appends the `count` greatest of `logits`, the greatest first, ties to the lower index.
pub(crate) fn choose(logits: &[f64], count: usize, chosen: &mut Vec<u32>) {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    // Adding zero makes -0 and 0 one.
    let of = |index: u32| logits[index as usize] + 0.0;
    order.sort_by(|a, b| of(*b).total_cmp(&of(*a)));
    chosen.extend_from_slice(&order[..count]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lower_index() {
        let mut chosen = Vec::new();
        choose(&[0.0, 2.0, -1.0, 2.0, -0.0], 4, &mut chosen);
        assert_eq!(chosen, [1, 3, 0, 4]);
    }

    #[test]
    fn every_choice_has_a_slot_of_its_expert() {
        for (tokens, experts, per_token) in [(1, 8, 2), (50, 5, 3), (3, 64, 6), (200, 4, 1), (40, 2, 2)] {
            let hash = |i: usize| (i as u32).wrapping_mul(0x9E37_79B9) >> 16;
            let of = |token: usize| (0..per_token).map(move |j| (hash(token) as usize + j) % experts);
            let chosen: Vec<u32> = (0..tokens).flat_map(of).map(|expert| expert as u32).collect();
            let routing = Routing::new(chosen.clone(), per_token, experts);
            let of_slots = routing.choice_of_slots();
            assert_eq!(of_slots.iter().flatten().count(), tokens * per_token);
            for group in routing.groups() {
                assert!(group.slots.start.is_multiple_of(GROUP));
                let choices: Vec<usize> = of_slots[group.slots.clone()].iter().flatten().copied().collect();
                assert_eq!(choices.len(), group.slots.len());
                assert!(choices.is_sorted() && choices.iter().all(|c| chosen[*c] as usize == group.expert));
            }
        }
    }
}

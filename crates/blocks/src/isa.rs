//! One loop, compiled for several instruction sets, chosen at run time.
//!
//! There are no intrinsics here: a `#[target_feature]` function only lets the compiler vectorize the same portable code
//! with wider registers. Rust never contracts a product and a sum into a fused one, so every set gives the same bits.

use std::sync::OnceLock;

/// An instruction set that this CPU has. Only [`Isa::available`] makes one, so holding one is the proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Isa(Set);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

/// The same function for each set.
#[derive(Debug)]
pub(crate) struct Kernels<F> {
    /// Needs what the target has anyway.
    pub portable: F,
    /// Needs AVX2.
    #[cfg(target_arch = "x86_64")]
    pub avx2: F,
}

impl Isa {
    /// What every CPU of the target has.
    pub(crate) const PORTABLE: Isa = Isa(Set::Portable);

    /// All sets that this CPU has, the widest last.
    pub(crate) fn available() -> Vec<Isa> {
        let mut sets = vec![Isa::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            sets.push(Isa(Set::Avx2));
        }
        sets
    }

    /// The widest set that this CPU has.
    pub(crate) fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Isa::available().pop().unwrap_or(Isa::PORTABLE))
    }
}

/// Plain Rust without intrinsics that [`widest`] compiles once for each instruction set.
pub trait Vectorized {
    /// What comes out.
    type Output;

    /// Does the work. It and all that it calls must be `#[inline(always)]`: what is not inlined keeps the instructions
    /// that every CPU has. That goes for closures too, so loops are plain ones where time is spent.
    fn run(self) -> Self::Output;
}

/// Runs `work`, compiled for the widest registers that this CPU has; its bits are the same on every CPU.
#[inline(always)]
pub fn widest<W: Vectorized>(work: W) -> W::Output {
    match Isa::best().0 {
        Set::Portable => work.run(),
        // SAFETY: an `Isa` exists only where this CPU has its instructions.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { with_avx2(work) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Vectorized>(work: W) -> W::Output {
    work.run()
}

impl<F: Copy> Kernels<F> {
    /// The function for `isa`.
    pub(crate) fn get(&self, isa: Isa) -> F {
        match isa.0 {
            Set::Portable => self.portable,
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => self.avx2,
        }
    }
}

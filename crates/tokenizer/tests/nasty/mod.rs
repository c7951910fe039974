//! Seeded texts that break tokenizers: odd spaces, digits, scripts, combining marks, control characters, special
//! tokens whole and cut, pieces of the vocabulary in random order.

/// A small counter-based generator (SplitMix64), so the texts are the same everywhere and always.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    fn character(&mut self) -> char {
        let ranges: [(u32, u32); 8] = [
            (0x20, 0x7f),
            (0, 0x20),
            (0xa0, 0x250),
            (0x300, 0x370),
            (0x400, 0x600),
            (0x2000, 0x2070),
            (0x4e00, 0x5000),
            (0x1f300, 0x1f700),
        ];
        let (low, high) = ranges[self.below(ranges.len())];
        char::from_u32(low + self.below((high - low) as usize) as u32).unwrap_or('\u{fffd}')
    }
}

const FRAGMENTS: &[&str] = &[
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r\n",
    "\t",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{200b}",
    "\u{feff}",
    "'s",
    "'LL",
    "'t",
    "’s",
    "don't",
    "I'VE",
    "0",
    "12",
    "123",
    "1234",
    "3.14",
    "1,000",
    "٣٤",
    "½",
    "Ⅷ",
    "hello",
    "Hello",
    "WORLD",
    "naïve",
    "e\u{301}",
    "é",
    "日本語",
    "한국어",
    "नमस्ते",
    "กำลัง",
    "🦙",
    "👩‍👩‍👧‍👦",
    "🏽",
    "...",
    "!!",
    "->",
    "==",
    "{\"a\": 1}",
    "<b>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_st",
    "art|>",
    "<|eot_id|>",
    "<|begin_of_text|>",
    "<tool>",
    "Ġ",
    "▁",
    "\\",
    "\0",
    "\u{7f}",
    "_",
    "$",
    "^~|",
    "C++",
    "x²",
    "ß",
    "ſ",
    "İ",
];

/// `count` texts; `vocabulary` lends its pieces.
pub fn texts(vocabulary: &[String], count: usize) -> Vec<String> {
    let mut random = Random(20_240_726);
    (0..count)
        .map(|_| {
            let parts = 1 + random.below(12);
            (0..parts).fold(String::new(), |mut text, _| {
                match random.below(10) {
                    0..=4 => text.push_str(random.pick(FRAGMENTS)),
                    5..=7 => text.push(random.character()),
                    _ => text.push_str(&vocabulary[random.below(vocabulary.len())].replace('Ġ', " ")),
                }
                text
            })
        })
        .collect()
}

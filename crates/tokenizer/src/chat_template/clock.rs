//! The time that `strftime_now` shows.

use jiff::Zoned;
use jiff::civil::DateTime;

/// What a template takes for the present. Templates write it into prompts (Llama 3.2's system message holds the date),
/// so whoever needs the same prompts tomorrow fixes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The machine's local time, as transformers has it.
    #[default]
    System,
    /// Always this time.
    Fixed(DateTime),
}

impl Clock {
    /// Midnight of a date, `None` where the calendar has no such day.
    pub fn fixed_date(year: i16, month: i8, day: i8) -> Option<Self> {
        DateTime::new(year, month, day, 0, 0, 0, 0).ok().map(Self::Fixed)
    }

    /// Reads `2024-07-26` or `2024-07-26T12:30:00`.
    ///
    /// # Errors
    /// Where the text is neither.
    pub fn parse(text: &str) -> Result<Self, jiff::Error> {
        text.parse().map(Self::Fixed)
    }

    /// `datetime.now().strftime(format)`.
    pub fn strftime(&self, format: &str) -> Result<String, jiff::Error> {
        let now = match self {
            Self::System => Zoned::now().datetime(),
            Self::Fixed(time) => *time,
        };
        jiff::fmt::strtime::format(format, now)
    }
}

//! What people and scripts are shown: progress, tables, the final report.

mod page;
mod plan_table;
mod run_report;
mod screen;
mod series;
mod table;
mod units;
mod visible;

pub use page::page;
pub use plan_table::plan_table;
pub use run_report::{OutputReport, RunReport, StageReport, figure, run_summary};
pub use screen::Screen;
pub use series::Series;
pub use table::Table;
pub use units::{bytes, parse_bytes, seconds};
pub use visible::visible;

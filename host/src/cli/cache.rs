//! `host cache list` and `host cache rm`

use super::args::{CacheArgs, CacheCommand, RmArgs};
use super::error::CliError;
use super::load::cache_dir;
use super::{print, print_json};
use crate::artifact::{Store, StoredKey};
use crate::report::{Table, bytes, seconds};

/// Shows what is stored, or deletes some of it.
pub fn cache(args: &CacheArgs) -> Result<(), CliError> {
    match &args.command {
        CacheCommand::List { json } => list(*json),
        CacheCommand::Rm(args) => remove(args),
    }
}

fn list(json: bool) -> Result<(), CliError> {
    let store = Store::open(&cache_dir()?)?;
    let stored = store.list()?;
    let total: u64 = stored.iter().map(|s| s.bytes).sum();
    if json {
        return print_json(&serde_json::json!({ "path": store.root(), "bytes": total, "artifacts": stored }));
    }
    let mut table = Table::new(&["key", "stage", "size", "age", ""]);
    for s in &stored {
        let state = if s.complete { "" } else { "unfinished" };
        let key = s.key.chars().take(12).collect();
        table.row(vec![key, s.stage.clone(), bytes(s.bytes), seconds(s.age_seconds as f64), state.into()]);
    }
    print(&format!("{}\n{} in {}\n", table.render(), bytes(total), store.root().display()))
}

fn remove(args: &RmArgs) -> Result<(), CliError> {
    let store = Store::open(&cache_dir()?)?;
    let (mut count, mut freed) = (0, 0);
    for stored in store.list()?.iter().filter(|s| fits(s, args)) {
        if store.remove(stored)? {
            count += 1;
            freed += stored.bytes;
        } else {
            eprintln!("warning: {} of `{}` is in use and stays", &stored.key, stored.stage);
        }
    }
    print(&format!("{count} removed, {} freed\n", bytes(freed)))
}

fn fits(stored: &StoredKey, args: &RmArgs) -> bool {
    args.stage.as_ref().is_none_or(|s| *s == stored.stage)
        && args.older_than.is_none_or(|age| stored.age_seconds >= age)
        && args.key.as_ref().is_none_or(|k| stored.key.starts_with(k.as_str()))
}

//! `host plugins list`

use std::path::PathBuf;

use super::args::{PluginsArgs, PluginsCommand};
use super::error::CliError;
use super::load::{cache_dir, discover};
use super::{interrupt, print, print_json};
use crate::plugins::{Catalogue, Plugin};

/// Shows what every plugin has, or why it can't be used.
pub fn plugins(args: &PluginsArgs) -> Result<(), CliError> {
    match &args.command {
        PluginsCommand::List { plugins, json } => list(plugins, *json),
    }
}

fn list(dirs: &[PathBuf], json: bool) -> Result<(), CliError> {
    let cancel = interrupt::watch()?;
    let catalogue = discover(dirs, &cache_dir()?, &cancel)?;
    if json { print_json(&catalogue) } else { print(&text(&catalogue)) }
}

fn text(catalogue: &Catalogue) -> String {
    let mut text: String = catalogue.plugins.iter().map(plugin_text).collect();
    for (stage, plugins) in catalogue.ambiguous_stages() {
        let choices = plugins.iter().map(|p| format!("`{p}/{stage}`")).collect::<Vec<_>>().join(" or ");
        text += &format!("stage `{stage}` is offered more than once: write {choices}\n");
    }
    for shadowed in &catalogue.shadowed {
        text += &format!("`{}` is not used: `{}` comes first\n", shadowed.path.display(), shadowed.by.display());
    }
    for rejected in &catalogue.rejected {
        let help = rejected.help.iter().map(|h| format!("\n  help: {h}")).collect::<String>();
        text += &format!("{}{help}\n", rejected.message);
    }
    if text.is_empty() { "no plugins; `--plugins DIR` says where to look\n".into() } else { text }
}

fn plugin_text(plugin: &Plugin) -> String {
    let info = &plugin.description.info;
    let mut text = format!("{} {} (ABI {}) {}\n", info.name, info.version, info.abi, plugin.path.display());
    for stage in &plugin.description.stages {
        text += &format!("  stage {}: {}\n", stage.id, stage.summary);
    }
    for extension in &plugin.description.extensions {
        let claims: Vec<&str> = extension.claims.values().flatten().map(String::as_str).collect();
        let claims = if claims.is_empty() { String::new() } else { format!(" ({})", claims.join(", ")) };
        text += &format!("  {} {}{claims}\n", extension.kind, extension.id);
    }
    text
}

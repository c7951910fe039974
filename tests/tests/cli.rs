//! What can go wrong before any stage runs: command line, pipeline file, flags. And the cache's own commands.
#![allow(clippy::unwrap_used)]

use tests::{Dir, HostCommand, host_test};

const PIPELINE: &str = "schema = 1\n[vars]\nrank = 4\n[stages.base]\nuses = \"no-such-stage\"\n";

host_test!(a_wrong_command_line_is_2, |_dir: Dir, host: HostCommand| {
    host.args(["walk"]).exits(2).complains("unrecognized subcommand");
});

host_test!(a_wrong_size_is_2, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", PIPELINE);
    host.args(["plan", "p.toml", "--memory", "much"]).exits(2).complains("expected a size such as `12G`");
});

host_test!(a_missing_pipeline_is_3, |_dir: Dir, host: HostCommand| {
    host.args(["run", "p.toml"]).exits(3).complains("pipeline file `p.toml` can't be read");
});

host_test!(syntax_is_shown_with_line_and_caret, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", "schema = 1\n[stages.a\n");
    let finished = host.args(["run", "p.toml"]).exits(3);
    finished.complains("p.toml:2:").complains("^");
    assert_eq!(finished.stdout, "");
    assert!(!dir.path("runs").exists(), "a pipeline that can't be read leaves no run directory");
});

host_test!(all_mistakes_show_at_once, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", format!("{PIPELINE}inputs = {{ model = \"bsae\" }}\n[matrix]\nx = [1]\n[piepline]\n"));
    let finished = host.args(["plan", "p.toml"]).exits(3);
    finished
        .complains("no plugin offers a stage `no-such-stage`")
        .complains("did you mean `base`?")
        .complains("`[matrix]` is not there yet")
        .complains("did you mean `pipeline`?");
});

host_test!(a_mistake_in_a_flag_points_at_the_flag, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", PIPELINE);
    host.args(["plan", "p.toml", "--set", "vars.rnk=8"])
        .exits(3)
        .complains("--set:1:6")
        .complains("known variables: `rank`");
});

host_test!(problems_as_json, |dir: Dir, host: HostCommand| {
    dir.write("p.toml", PIPELINE);
    let error = &host.args(["run", "p.toml", "--json"]).exits(3).json()["error"];
    assert_eq!(error["code"], "bad_pipeline");
    let problem = &error["problems"][0];
    assert_eq!(problem["message"], "no plugin offers a stage `no-such-stage`");
    assert_eq!((&problem["line"], &problem["column"]), (&5.into(), &8.into()));
});

host_test!(an_empty_cache_has_nothing_to_list_or_remove, |dir: Dir, host: HostCommand| {
    let list = host.args(["cache", "list", "--json"]).exits(0).json();
    assert_eq!(list["artifacts"].as_array().unwrap().len(), 0);
    assert_eq!(dir.host().args(["cache", "rm", "--all"]).exits(0).stdout, "0 removed, 0 B freed\n");
    dir.host().args(["cache", "rm"]).exits(2);
});

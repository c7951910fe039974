//! Modules by the names that adapters give them.

/// What training frameworks put between a module and its name.
const WITHIN: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];
/// What stands before a module's path where the model was wrapped.
const BEFORE: [&str; 4] = ["base_model", "module", "language_model", "model"];

/// A module's name without what frameworks put in it; PEFT's own prefix is one of these.
pub fn without_wrappers(name: &str) -> String {
    let name = name.strip_prefix("base_model.model.").unwrap_or(name);
    name.split('.').filter(|word| !WITHIN.contains(word)).collect::<Vec<_>>().join(".")
}

/// What of a module's path tells it from others: all but the wrappers before it.
pub fn core(name: &str) -> &str {
    let mut rest = name;
    while let Some((first, behind)) = rest.split_once('.')
        && BEFORE.contains(&first)
    {
        rest = behind;
    }
    rest
}

/// The last part of a module's path, or of a GGUF tensor's name without `.weight`.
pub fn last_part(name: &str) -> &str {
    let name = name.strip_suffix(".weight").unwrap_or(name);
    name.rsplit('.').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.0.self_attn.q_proj";

    #[test]
    fn wrappers_are_no_part_of_a_name() {
        for name in [
            "base_model.model.model.layers.0.self_attn.q_proj",
            "base_model.model._orig_mod.model.layers.0.self_attn.q_proj",
            "model.layers.0._checkpoint_wrapped_module.self_attn.q_proj",
            "module.base_model.model.model.layers.0.self_attn.q_proj",
            "base_model.model.model.language_model.layers.0.self_attn.q_proj",
            "base_model.model.layers.0.self_attn.q_proj",
        ] {
            assert_eq!(core(&without_wrappers(name)), core(Q), "{name}");
        }
    }

    #[test]
    fn another_part_of_a_larger_model_is_another_module() {
        for name in [
            "vision_tower.model.layers.0.self_attn.q_proj",
            "self_attn.q_proj",
            "layers.1.self_attn.q_proj",
            "mymodel.layers.0.self_attn.q_proj",
        ] {
            assert_ne!(core(name), core(Q), "{name}");
        }
    }
}

//! The plan of one stage, and whether its result is there already.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use stage_api::{Input, Plan, Severity};

use crate::key::KeyParts;
use crate::pipeline::ResolvedStage;
use crate::worker::{ExtensionUse, JobResult};

/// The plan of one stage.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// The stage's name in the pipeline.
    pub stage: String,
    /// The id in `uses`.
    pub uses: String,
    /// What the stage plans; empty while it waits.
    pub plan: Plan,
    /// What it used for that, and all that its run may use.
    pub extensions: Vec<ExtensionUse>,
    /// Whether it must run.
    pub state: State,
    /// What it was planned on.
    pub inputs: BTreeMap<String, Input>,
}

/// Whether a stage must run.
#[derive(Debug, Clone)]
pub enum State {
    /// Its result is there.
    Cached {
        /// What the key is made of.
        key: KeyParts,
        /// Where the result lies.
        attempt: PathBuf,
        /// What its worker said.
        result: Box<JobResult>,
    },
    /// It must run.
    Run {
        /// Why.
        why: String,
        /// What the key is made of; `None` while an input is not made.
        key: Option<KeyParts>,
    },
    /// It can be planned only when another stage has run.
    Later {
        /// That stage.
        waits_for: String,
    },
}

impl StagePlan {
    /// A plan whose result was not looked up yet.
    pub fn new(
        stage: &ResolvedStage,
        plan: Plan,
        extensions: Vec<ExtensionUse>,
        inputs: BTreeMap<String, Input>,
    ) -> Self {
        let state = State::Run { why: "it has errors".into(), key: None };
        let uses = stage.offer.signature.id.clone();
        Self { stage: stage.name.clone(), uses, plan, extensions, state, inputs }
    }

    /// A stage that waits for `waits_for`.
    pub fn later(stage: &ResolvedStage, waits_for: String, inputs: BTreeMap<String, Input>) -> Self {
        let state = State::Later { waits_for };
        Self { state, ..Self::new(stage, Plan::default(), Vec::new(), inputs) }
    }

    /// Whether anything was found that forbids a run.
    pub fn is_refused(&self) -> bool {
        self.plan.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// Whether the result is there already.
    pub fn is_cached(&self) -> bool {
        matches!(self.state, State::Cached { .. })
    }

    /// One word, and the reason.
    pub fn state_words(&self) -> (&'static str, String) {
        match &self.state {
            State::Cached { .. } => ("cached", String::new()),
            State::Run { .. } if self.is_refused() => ("refused", String::new()),
            State::Run { why, .. } => ("run", why.clone()),
            State::Later { waits_for } => ("later", format!("it is planned when `{waits_for}` is made")),
        }
    }

    fn key(&self) -> Option<&KeyParts> {
        match &self.state {
            State::Cached { key, .. } => Some(key),
            State::Run { key, .. } => key.as_ref(),
            State::Later { .. } => None,
        }
    }
}

/// What scripts need. Descriptions come without their bodies, which can have megabytes.
impl Serialize for StagePlan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (state, why) = self.state_words();
        let outputs: BTreeMap<&String, _> = self
            .plan
            .outputs
            .iter()
            .map(|(port, d)| {
                let value = serde_json::json!({
                    "kind": d.kind, "certainty": d.certainty, "bytes": d.bytes, "facts": d.facts,
                });
                (port, value)
            })
            .collect();
        let mut out = serializer.serialize_struct("StagePlan", 10)?;
        out.serialize_field("stage", &self.stage)?;
        out.serialize_field("uses", &self.uses)?;
        out.serialize_field("state", state)?;
        out.serialize_field("why", &why)?;
        out.serialize_field("key", &self.key().map(KeyParts::key))?;
        out.serialize_field("estimate", &self.plan.estimate)?;
        out.serialize_field("outputs", &outputs)?;
        out.serialize_field("findings", &self.plan.findings)?;
        out.serialize_field("pins", &self.plan.pins)?;
        out.serialize_field("extensions", &self.extensions)?;
        out.end()
    }
}

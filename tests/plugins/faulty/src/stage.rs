//! `faulty`: writes four bytes, unless asked to go wrong.

use std::collections::BTreeMap;

use serde::Deserialize;
use stage_api::serde_json::json;
use stage_api::{Context, Description, Error, Outcome, Plan, Port, Result, Signature, Stage, kind};

use crate::fault::Fault;

pub struct Faulty;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Params {
    fault: Option<Fault>,
    /// Whether planning goes wrong already.
    #[serde(default)]
    in_plan: bool,
}

impl Stage for Faulty {
    fn signature(&self) -> Signature {
        Signature {
            id: "faulty".into(),
            summary: "goes wrong on request".into(),
            revision: Some(1),
            inputs: Vec::new(),
            outputs: vec![Port::new("out", kind::REPORT, "four bytes")],
            params: json!({
                "type": "object",
                "additionalProperties": false,
                "properties": { "fault": { "enum": Fault::NAMES }, "in_plan": { "type": "boolean" } },
            }),
        }
    }

    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let params: Params = ctx.params()?;
        if let (Some(fault), true) = (params.fault, params.in_plan) {
            fault.happen(ctx)?;
        }
        let outputs = BTreeMap::from([("out".into(), promised())]);
        Ok(Plan { outputs, ..Plan::default() })
    }

    fn run(&self, ctx: &Context) -> Result<Outcome> {
        let params: Params = ctx.params()?;
        std::fs::write(ctx.output("out")?, "good").map_err(|e| Error::from_source("io", &e))?;
        let mut made = promised();
        if let Some(fault) = params.fault {
            fault.happen(ctx)?;
            fault.spoil(ctx, &mut made)?;
        }
        Ok(Outcome { outputs: BTreeMap::from([("out".into(), made)]), ..Outcome::default() })
    }
}

fn promised() -> Description {
    Description::exact(kind::REPORT, json!({ "lines": [1, 2] })).with_bytes(4)
}

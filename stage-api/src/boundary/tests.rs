//! Both halves of the border against each other, in one process.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::borrowed::BorrowedExtension;
use super::{Part, extensions, init, stages};
use crate::hosting::{Level, LoadedStage, LogRecord, Services, host_object};
use crate::{CatalogueEntry, Context, Description, Error, Extension, ExtensionHandle, Outcome, Plan, Request, Result};

struct Double;

impl Extension for Double {
    fn kind(&self) -> &str {
        "arithmetic"
    }
    fn id(&self) -> &str {
        "double"
    }
    fn claims(&self) -> BTreeMap<String, Vec<String>> {
        BTreeMap::from([("factor".into(), vec!["2".into()])])
    }
    fn call(&self, op: &str, input: Value) -> Result<Value> {
        match op {
            "apply" => Ok(json!(input.as_f64().unwrap() * 2.0)),
            _ => Err(Error::new("odd", format!("no `{op}`")).with_help("use `apply`").with_cause("whim")),
        }
    }
    fn decode(&self, _op: &str, src: &[u8], dst: &mut [f32]) -> Result<()> {
        dst.iter_mut().zip(src).for_each(|(y, x)| *y = f32::from(*x) * 2.0);
        Ok(())
    }
}

struct Caller;

impl crate::Stage for Caller {
    fn signature(&self) -> crate::Signature {
        crate::Signature {
            id: "caller".into(),
            summary: String::new(),
            revision: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            params: json!({}),
        }
    }
    fn plan(&self, ctx: &Context) -> Result<Plan> {
        let x = ctx.extension("arithmetic", "double")?.call("apply", ctx.request().params["x"].clone())?;
        let outputs = BTreeMap::from([("y".into(), Description::exact("report", x))]);
        Ok(Plan { outputs, ..Plan::default() })
    }
    fn run(&self, ctx: &Context) -> Result<Outcome> {
        ctx.progress("steps", 1, 2);
        ctx.metric("loss", 3, 0.5);
        ctx.check_cancelled()?;
        panic!("no floor under step {}", 3)
    }
}

/// A host that writes down what it is told.
#[derive(Default)]
struct Notes {
    told: Mutex<Vec<String>>,
    cancelled: bool,
}

impl Notes {
    fn note(&self, text: String) {
        self.told.lock().unwrap().push(text);
    }
}

impl Services for Notes {
    fn log(&self, record: LogRecord) {
        self.note(format!("{:?} {} {}", record.level, record.message, record.fields));
    }
    fn progress(&self, unit: &str, done: u64, total: u64) {
        self.note(format!("{done}/{total} {unit}"));
    }
    fn metric(&self, name: &str, step: u64, value: f64) {
        self.note(format!("{name}[{step}] = {value}"));
    }
    fn cancelled(&self) -> bool {
        self.cancelled
    }
    fn catalogue(&self) -> Vec<CatalogueEntry> {
        Vec::new()
    }
    fn extension(&self, kind: &str, id: &str) -> Result<BorrowedExtension> {
        assert_eq!((kind, id), ("arithmetic", "double"));
        Ok(double())
    }
}

fn parts() -> Vec<Part> {
    vec![crate::register::stage(Caller), crate::register::extension(Double)]
}

fn double() -> BorrowedExtension {
    let objects = extensions("maths", parts).into_result().unwrap();
    BorrowedExtension::new(objects.into_iter().next().unwrap()).unwrap()
}

fn caller() -> LoadedStage {
    LoadedStage::new(stages("maths", parts).into_result().unwrap().into_iter().next().unwrap()).unwrap()
}

#[test]
fn an_extension_is_the_same_on_the_other_side() {
    let far = double();
    assert_eq!(far.entry().plugin, "maths");
    assert_eq!(far.entry().claims["factor"], ["2"]);
    assert_eq!(far.call("apply", json!(0.1)).unwrap(), json!(0.2));
    let mut row = [0.0; 3];
    far.clone().decode("bytes", &[1, 2, 3], &mut row).unwrap();
    assert_eq!(row, [2.0, 4.0, 6.0]);
}

#[test]
fn errors_keep_all_they_say() {
    let error = double().call("halve", json!(1)).unwrap_err();
    assert_eq!(error, Error::new("odd", "no `halve`").with_help("use `apply`").with_cause("whim"));
    let missing = double().encode("bytes", &[1.0], &[], &mut [0]).unwrap_err();
    assert_eq!((&*missing.code, &*missing.message), (Error::UNSUPPORTED, "`double` encodes no `bytes`"));
}

#[test]
fn a_stage_reaches_the_host_and_an_extension_through_it() {
    let notes: Arc<dyn Services> = Arc::new(Notes::default());
    let request = Request { params: json!({ "x": 4 }), ..Request::default() };
    let plan = caller().plan(&notes, &request).unwrap();
    assert_eq!(plan.outputs["y"].body, json!(8.0));
}

#[test]
fn a_panic_names_plugin_stage_and_place() {
    let notes = Arc::new(Notes::default());
    let services: Arc<dyn Services> = notes.clone();
    init("maths", host_object(&services), Level::Info as u8).into_result().unwrap();
    tracing::info!(step = 3, "walking");
    tracing::debug!("unseen");
    let error = caller().run(&services, &Request::default()).unwrap_err();
    assert_eq!(error.code, Error::PANIC);
    assert!(error.message.starts_with("stage `caller` of plugin `maths` panicked: no floor under step 3 ("));
    assert!(error.message.contains("tests.rs:"), "{}", error.message);
    let told = notes.told.lock().unwrap();
    assert_eq!(told[..3], ["Info walking {\"step\":3}", "1/2 steps", "loss[3] = 0.5"]);
    assert!(told[3].starts_with("Error no floor under step 3 {\"place\":"), "{}", told[3]);
    assert_eq!(told.len(), 4);
}

#[test]
fn a_request_to_stop_is_seen() {
    let services: Arc<dyn Services> = Arc::new(Notes { cancelled: true, ..Notes::default() });
    assert_eq!(caller().run(&services, &Request::default()).unwrap_err(), Error::cancelled());
}

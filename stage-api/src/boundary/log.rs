//! Forwards a plugin's tracing events to the host. Each plugin has its own copy of `tracing`, so the host's subscriber
//! never sees them otherwise. Spans are not forwarded.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Map, Value};
use stage_abi::HostObject;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber, span};

struct Forward {
    host: Arc<HostObject>,
    max_level: LevelFilter,
}

/// Installs the subscriber and the panic hook. A second call changes nothing but the panic hook's chain, so the host
/// calls it once a plugin.
pub(super) fn connect(host: HostObject, max_level: u8) {
    let host = Arc::new(host);
    let panics = host.clone();
    stage_abi::remember_panics(move |message, place| {
        let fields = serde_json::json!({ "place": place }).to_string();
        panics.log(level_number(Level::ERROR), "panic".into(), message.into(), fields.as_str().into());
    });
    let max_level = match max_level {
        0 => LevelFilter::OFF,
        1 => LevelFilter::ERROR,
        2 => LevelFilter::WARN,
        3 => LevelFilter::INFO,
        4 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    // A plugin that installed its own subscriber keeps it.
    let _ = tracing::subscriber::set_global_default(Forward { host, max_level });
}

fn level_number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

impl Subscriber for Forward {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= self.max_level
    }

    /// Lets tracing drop events above the level before anything is evaluated.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.max_level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let text = if fields.others.is_empty() { String::new() } else { Value::Object(fields.others).to_string() };
        let metadata = event.metadata();
        let level = level_number(*metadata.level());
        self.host.log(level, metadata.target().into(), fields.message.as_str().into(), text.as_str().into());
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.others.insert(field.name().into(), value.into());
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

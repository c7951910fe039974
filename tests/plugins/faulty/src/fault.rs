//! The ways to go wrong.

use std::time::Duration;

use serde::Deserialize;
use stage_api::serde_json::{Value, json};
use stage_api::{Context, Description, Error, Result, tracing};

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    Refuse,
    Panic,
    PanicInThread,
    PanicInExtension,
    Abort,
    Exit,
    Segfault,
    Print,
    Hang,
    Leak,
    OtherDescription,
    OtherBytes,
    NoOutput,
    LinkedOutput,
    UndeclaredExtension,
}

impl Fault {
    /// As parameters spell them.
    pub const NAMES: [&str; 15] = [
        "refuse",
        "panic",
        "panic-in-thread",
        "panic-in-extension",
        "abort",
        "exit",
        "segfault",
        "print",
        "hang",
        "leak",
        "other-description",
        "other-bytes",
        "no-output",
        "linked-output",
        "undeclared-extension",
    ];

    /// What goes wrong while the stage works.
    pub fn happen(self, ctx: &Context) -> Result<()> {
        match self {
            Self::Refuse => {
                return Err(Error::new("no_luck", "it rains").with_help("wait for the sun").with_cause("a cloud"));
            }
            Self::Panic => panic!("the floor is {}", "lava"),
            Self::PanicInThread => {
                let joined = std::thread::spawn(|| panic!("far from the border")).join();
                return joined.map_err(|_| Error::new("lost_thread", "a thread panicked"));
            }
            Self::PanicInExtension => drop(ctx.extension("toy", "whisper")?.call("say", json!("panic"))?),
            Self::Abort => std::process::abort(),
            Self::Exit => std::process::exit(7),
            Self::Segfault => {
                // SAFETY: none; this write is the fault that the host has to survive.
                unsafe { std::ptr::without_provenance_mut::<u8>(1).write_volatile(0) }
            }
            Self::Print => {
                println!(r#"{{"seq":0,"t_ms":0,"event":"error","error":{{"code":"fake","message":"printed"}}}}"#);
                tracing::warn!(answer = 42, "printed on stdout");
            }
            Self::Hang => loop {
                std::thread::sleep(Duration::from_secs(3600));
            },
            Self::Leak => leak(),
            Self::UndeclaredExtension => drop(ctx.extension("toy", "shout")?),
            Self::OtherDescription | Self::OtherBytes | Self::NoOutput | Self::LinkedOutput => {}
        }
        Ok(())
    }

    /// What is wrong with the output and its description.
    pub fn spoil(self, ctx: &Context, made: &mut Description) -> Result<()> {
        let out = ctx.output("out")?;
        let io = |e: std::io::Error| Error::from_source("io", &e);
        match self {
            Self::OtherDescription => made.body["lines"][1] = Value::from(3),
            Self::OtherBytes => std::fs::write(out, "worse").map_err(io)?,
            Self::NoOutput => std::fs::remove_file(out).map_err(io)?,
            Self::LinkedOutput => {
                std::fs::remove_file(&out).map_err(io)?;
                std::os::unix::fs::symlink("/etc/hostname", out).map_err(io)?;
            }
            _ => {}
        }
        Ok(())
    }
}

/// Takes memory, slowly enough to be measured, until somebody objects.
fn leak() -> ! {
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1_u8; 16 << 20]));
        std::thread::sleep(Duration::from_millis(5));
    }
}

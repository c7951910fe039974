//! The `host` binary; see `host::cli`.

fn main() -> std::process::ExitCode {
    host::cli::main()
}

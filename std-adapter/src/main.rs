//! The `demask` command.

fn main() -> std::process::ExitCode {
    demask_std::cli::main()
}

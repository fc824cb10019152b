//! The program `hedwig-mailman`.

fn main() -> std::process::ExitCode {
    hedwig_mailman::run(std::env::args_os())
}

//! The program `hedwig-postoffice`.

fn main() -> std::process::ExitCode {
    hedwig_postoffice::run(std::env::args_os())
}

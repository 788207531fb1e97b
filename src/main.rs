fn main() -> std::process::ExitCode {
    monocle::cli::run()
}

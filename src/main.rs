/// Gives back what a burst of requests or a cut took, which glibc's allocator does not (figures in ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    monocle::cli::run()
}

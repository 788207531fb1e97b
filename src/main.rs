/// Gives back what a burst of requests or a cut took, which glibc's allocator does not (figures in ARCHITECTURE.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What was freed goes back to the system within a second instead of ten, which under full load is a third of the resident
/// memory and costs no CPU time that can be measured: the peak of a
/// million log records fell from 363 to 294 MiB. `MALLOC_CONF` in the environment goes before it.
// SAFETY: jemalloc reads the symbol of this name as a pointer to a string that ends with a zero byte, which it is; nothing
// else has the name.
#[allow(unsafe_code)]
#[unsafe(export_name = "malloc_conf")]
#[used]
static MALLOC_CONF: &[u8; 37] = b"dirty_decay_ms:1000,muzzy_decay_ms:0\0";

fn main() -> std::process::ExitCode {
    monocle::cli::run()
}

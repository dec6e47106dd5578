//! What the compiling child may still ask of the system once it is set up: memory, threads of its own,
//! reading and writing what it has open, and to end. No file, no network, no other process.
//!
//! The kernel refuses the rest (seccomp), for the child's threads too, and for good: it can gain no
//! rights either (no new privileges). On other systems and processors than those below there is no
//! fence; the limits of `compiler.rs` hold everywhere.

/// Whether this system can do it.
pub(super) fn is_available() -> bool {
    cfg!(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))
        && std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists()
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) use enforced::enter;

/// There is none here.
///
/// # Errors
/// Always.
#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(super) fn enter() -> Result<(), String> {
    Err("this system has no fence".to_owned())
}

#[cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod enforced {
    use std::collections::BTreeMap;

    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule, TargetArch,
    };

    #[cfg(target_arch = "x86_64")]
    const ARCH: TargetArch = TargetArch::x86_64;
    #[cfg(target_arch = "aarch64")]
    const ARCH: TargetArch = TargetArch::aarch64;

    /// What is allowed whatever its arguments are.
    const ALLOWED: &[libc::c_long] = &[
        // What is open already.
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_pwrite64,
        libc::SYS_writev,
        libc::SYS_lseek,
        libc::SYS_fstat,
        libc::SYS_close,
        // Memory.
        libc::SYS_brk,
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        // Threads.
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_rseq,
        libc::SYS_membarrier,
        libc::SYS_gettid,
        libc::SYS_getpid,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_exit,
        libc::SYS_exit_group,
        // Faults and signals.
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_restart_syscall,
        // Time and chance.
        libc::SYS_clock_gettime,
        libc::SYS_clock_getres,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_getrandom,
        libc::SYS_uname,
    ];
    /// Names of mappings, a kind of [`libc::prctl`].
    const PR_SET_VMA: u64 = 0x5356_4d41;

    /// Puts this thread, and every thread that it starts, behind the fence.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub(in crate::engine) fn enter() -> Result<(), String> {
        let build = || -> Result<[BpfProgram; 2], seccompiler::BackendError> { Ok([no_clone3()?, fence()?]) };
        for program in build().map_err(|error| error.to_string())? {
            // It also sets `no_new_privs`, without which the kernel takes no filter.
            seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn fence() -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
            ALLOWED.iter().map(|number| (*number, Vec::new())).collect();
        let only = |argument: u8, length, operator, value: u64| {
            SeccompRule::new(vec![SeccompCondition::new(argument, length, operator, value)?])
        };
        let equal = SeccompCmpOp::Eq;
        // Threads, and no processes.
        let thread = libc::CLONE_THREAD as u64;
        let threads = only(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread)?;
        rules.insert(libc::SYS_clone, vec![threads]);
        rules.insert(libc::SYS_clone3, Vec::new());
        // Limits are asked for, and not set.
        rules.insert(libc::SYS_prlimit64, vec![only(2, SeccompCmpArgLen::Qword, equal.clone(), 0)?]);
        // Names for threads and mappings.
        let names = [libc::PR_SET_NAME as u64, PR_SET_VMA];
        let names = names.map(|name| only(0, SeccompCmpArgLen::Dword, equal.clone(), name));
        rules.insert(libc::SYS_prctl, names.into_iter().collect::<Result<_, _>>()?);
        // A signal to itself, which is how a program aborts.
        let me = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![only(0, SeccompCmpArgLen::Dword, equal, me)?]);
        let refused = SeccompAction::Errno(libc::EPERM as u32);
        SeccompFilter::new(rules, refused, SeccompAction::Allow, ARCH)?.try_into()
    }

    /// What `clone3` is asked for is in memory, where a filter cannot see it: it is as if the kernel were
    /// too old for it, and the C library asks for a thread in the older way.
    fn no_clone3() -> Result<BpfProgram, seccompiler::BackendError> {
        let rules = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
        SeccompFilter::new(rules, SeccompAction::Allow, unknown, ARCH)?.try_into()
    }

    #[cfg(test)]
    mod tests {
        use std::fs::File;
        use std::net::{TcpListener, TcpStream, UdpSocket};
        use std::process::Command;

        /// A filter is its thread's own: the other tests are outside.
        fn inside<T: Send>(work: impl FnOnce() -> T + Send) -> T {
            std::thread::scope(|scope| {
                let fenced = scope.spawn(|| {
                    super::enter().expect("a fence");
                    work()
                });
                fenced.join().expect("the thread ends")
            })
        }

        #[test]
        fn no_file_no_network_and_no_process_is_to_be_had() {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("file");
            std::fs::write(&file, "secret").expect("a file");
            let open = File::open(&file).expect("it is open");
            let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
            let address = listener.local_addr().expect("an address");
            let (reads, refused) = inside(|| {
                let refused = [
                    File::open(&file).map(drop),
                    File::create(folder.path().join("other")).map(drop),
                    std::fs::metadata(&file).map(drop),
                    std::fs::read_dir(folder.path()).map(drop),
                    std::fs::remove_file(&file),
                    std::fs::rename(&file, folder.path().join("other")),
                    TcpStream::connect(address).map(drop),
                    TcpListener::bind("127.0.0.1:0").map(drop),
                    UdpSocket::bind("127.0.0.1:0").map(drop),
                    std::os::unix::net::UnixStream::pair().map(drop),
                    Command::new("/bin/true").status().map(drop),
                ];
                (std::io::read_to_string(&open).expect("what was open is read"), refused)
            });
            assert_eq!(reads, "secret");
            for (number, result) in refused.into_iter().enumerate() {
                let error = result.expect_err(&format!("number {number} is refused"));
                assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "number {number}: {error}");
            }
            assert_eq!(std::fs::read_to_string(&file).expect("it is still there"), "secret");
        }

        #[test]
        fn threads_are_to_be_had_and_are_inside_too() {
            let opened = inside(|| {
                let thread = std::thread::Builder::new().name("inner".to_owned());
                let inner =
                    thread.spawn(|| File::open("/etc/hostname").map(drop).map_err(|error| error.kind()));
                inner.expect("a thread").join().expect("it ends")
            });
            assert_eq!(opened, Err(std::io::ErrorKind::PermissionDenied));
        }

        #[test]
        fn limits_cannot_be_raised() {
            use rustix::process::{Resource, getrlimit, setrlimit};
            let (asked, set) = inside(|| {
                let limit = getrlimit(Resource::Core);
                (limit, setrlimit(Resource::Core, limit))
            });
            assert_eq!(asked.maximum, getrlimit(Resource::Core).maximum);
            assert_eq!(set, Err(rustix::io::Errno::PERM));
        }
    }
}

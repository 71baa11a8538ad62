//! EV's loops and watchers as safe Rust values.
//!
//! A watcher owns a [`Handler`] and is stopped and freed when dropped, also from inside its own
//! handler. Handlers run on the thread of the loop; what they answer decides whether the loop goes
//! on or, after Perl's `exit`, the process ends.
//!
//! The C half is `ev.c`. Watchers must be made, used and dropped on the thread of their loop; the
//! types are neither `Send` nor `Sync`. Only an [`AsyncSender`] may travel.

#![allow(unsafe_code)]

use std::ffi::c_void;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::raw::{c_int, c_long};
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use perl_xs::{Flow, Perl, Sv};

/// The file descriptor can be read (or its peer has closed).
pub const READ: i32 = 1;
/// The file descriptor can be written (or its connect has ended).
pub const WRITE: i32 = 2;

/// What runs when a watcher fires.
///
/// `events` holds [`READ`] and [`WRITE`] bits for an [`Io`]; other watchers may ignore it.
pub trait Handler {
    /// Called on the loop's thread. The watcher may be dropped meanwhile.
    fn fired(&self, perl: Perl, events: i32) -> Flow;
}

impl<F: Fn(Perl, i32) -> Flow> Handler for F {
    fn fired(&self, perl: Perl, events: i32) -> Flow {
        self(perl, events)
    }
}

/// `struct ev_loop`.
#[repr(C)]
struct RawLoop {
    _private: [u8; 0],
}

/// `evk_watcher` of ev.c.
#[repr(C)]
struct RawWatcher {
    _private: [u8; 0],
}

/// The kinds that ev.c makes, in its order.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Kind {
    Io,
    Timer,
    Async,
    Prepare,
}

/// A handler behind a thin pointer, as C can keep it.
type Boxed = Box<Rc<dyn Handler>>;

extern "C" {
    static evk_generation: AtomicI32;
    fn evk_coarse_ms() -> i64;
    fn evk_boot() -> c_int;
    fn evk_is_home() -> c_int;
    fn evk_default_loop() -> *mut RawLoop;
    fn evk_loop_of(sv: *mut c_void) -> *mut RawLoop;
    fn evk_new(kind: c_int, ev_loop: *mut RawLoop, handler: *mut c_void) -> *mut RawWatcher;
    fn evk_free(watcher: *mut RawWatcher, kind: c_int) -> *mut c_void;
    fn evk_io_start(watcher: *mut RawWatcher, fd: c_int, events: c_int);
    fn evk_io_stop(watcher: *mut RawWatcher);
    fn evk_timer_start(watcher: *mut RawWatcher, after: f64);
    fn evk_timer_stop(watcher: *mut RawWatcher);
    fn evk_async_start(watcher: *mut RawWatcher);
    fn evk_async_stop(watcher: *mut RawWatcher);
    fn evk_async_send(watcher: *mut RawWatcher);
    fn evk_prepare_start(watcher: *mut RawWatcher);
    fn evk_prepare_stop(watcher: *mut RawWatcher);
    fn evk_send_vectored(fd: c_int, parts: *const c_void, count: usize) -> isize;
    fn evk_send(fd: c_int, data: *const c_void, len: usize) -> isize;
    fn evk_peer_closed(fd: c_int) -> c_int;
    fn evk_unacknowledged(fd: c_int) -> c_long;
    fn evk_keep_alive(fd: c_int);
    fn evk_block_signals();
    fn evk_restore_signals();
}

/// Finds EV's function table; to be called once by the boot function, before anything else here.
///
/// # Errors
/// A text for the user when EV is not loaded or its binary interface is another one.
pub fn boot() -> Result<(), String> {
    // SAFETY: called on an interpreter's thread; only reads $EV::API.
    match unsafe { evk_boot() } {
        0 => Ok(()),
        -1 => Err("EV::Kafka: the EV module is not loaded".into()),
        version => Err(format!(
            "EV::Kafka: EV has API version {}.{} but another one was built against, please rebuild EV::Kafka",
            version / 1000,
            version % 1000
        )),
    }
}

/// Looks whether EV can be used on this thread: it keeps to the one that loaded it.
///
/// # Errors
/// A text for the user when it cannot.
pub fn check_thread() -> Result<(), String> {
    // SAFETY: only compares an address.
    match unsafe { evk_is_home() } {
        0 => Err("EV::Kafka: EV belongs to the thread that loaded it, not to this one".into()),
        _ => Ok(()),
    }
}

/// Milliseconds of a clock that never runs backwards. It is exact to a few of them, and cheap enough to be read once a
/// record.
#[inline]
pub fn coarse_ms() -> i64 {
    // SAFETY: takes nothing and touches nothing of ours.
    unsafe { evk_coarse_ms() }
}

/// The processor's own counter, where it runs on at an even pace whatever the processor does.
#[derive(Clone, Copy, Debug)]
pub struct Ticks(());

impl Ticks {
    /// No processor counts more slowly, in ticks a second.
    pub const AT_LEAST: u64 = 500_000_000;

    /// `None` where there is no such counter.
    #[cfg(target_arch = "x86_64")]
    #[allow(unused_unsafe)]
    pub fn find() -> Option<Ticks> {
        use std::arch::x86_64::__cpuid;
        /// The leaf of cpuid that tells of power management, and in its EDX: the counter neither stops nor changes pace.
        const POWER: u32 = 0x8000_0007;
        const IS_INVARIANT: u32 = 1 << 8;
        // SAFETY: every processor of this kind has cpuid.
        let (last, power) = unsafe { (__cpuid(0x8000_0000).eax, __cpuid(POWER).edx) };
        (last >= POWER && power & IS_INVARIANT != 0).then_some(Ticks(()))
    }

    /// `None` where there is no such counter.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn find() -> Option<Ticks> {
        None
    }

    /// How far it has got.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub fn now(self) -> u64 {
        // SAFETY: reads a register, which `find` has seen.
        unsafe { std::arch::x86_64::_rdtsc() }
    }

    /// How far it has got.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn now(self) -> u64 {
        0
    }
}

/// A number that differs between a process and the children that it forks.
#[inline]
pub fn process_generation() -> i32 {
    // SAFETY: an int of ev.c, which is changed only in a new process that has no other thread yet.
    unsafe { evk_generation.load(Ordering::Relaxed) }
}

/// One of EV's loops, kept alive.
#[derive(Clone)]
pub struct Loop {
    raw: NonNull<RawLoop>,
    /// What an EV::Loop object refers to; none for the default loop, which lives for ever.
    _object: Option<Sv>,
}

impl Loop {
    /// EV's default loop.
    pub fn default_loop() -> Loop {
        // SAFETY: the table was found by `boot`.
        let raw = NonNull::new(unsafe { evk_default_loop() })
            .expect("EV makes its default loop when it is loaded");
        Loop { raw, _object: None }
    }

    /// The loop of an `EV::Loop` object; the default loop for any other value.
    ///
    /// What is kept is the object, and not the scalar that refers to it here: that is the caller's
    /// variable, which may refer to something else a moment later.
    pub fn from_sv(sv: &Sv) -> Loop {
        // SAFETY: a live scalar, only inspected.
        let raw = NonNull::new(unsafe { evk_loop_of(sv.as_ptr().cast()) });
        match (raw, sv.referent()) {
            (Some(raw), Some(object)) => Loop {
                raw,
                _object: Some(object),
            },
            _ => Loop::default_loop(),
        }
    }
}

/// What all watchers have in common: the C struct, and the loop it is on.
struct Watcher {
    raw: NonNull<RawWatcher>,
    kind: Kind,
    _loop: Loop,
}

impl Watcher {
    fn new(kind: Kind, on: &Loop, handler: Rc<dyn Handler>) -> Watcher {
        let handler: Boxed = Box::new(handler);
        // SAFETY: the loop is alive; the watcher takes the handler over.
        let raw = unsafe {
            evk_new(
                kind as c_int,
                on.raw.as_ptr(),
                Box::into_raw(handler).cast(),
            )
        };
        Watcher {
            raw: NonNull::new(raw).expect("memory for a watcher"),
            kind,
            _loop: on.clone(),
        }
    }

    fn as_ptr(&self) -> *mut RawWatcher {
        self.raw.as_ptr()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // SAFETY: ours and alive; C stops it, frees it and gives the handler back.
        let handler = unsafe { evk_free(self.as_ptr(), self.kind as c_int) };
        if !handler.is_null() {
            // SAFETY: the pointer that `new` gave away; the C struct that held it is gone.
            drop(unsafe { Boxed::from_raw(handler.cast()) });
        }
    }
}

/// Watches a file descriptor. Must be stopped before the descriptor is closed.
pub struct Io(Watcher);

impl Io {
    /// A stopped watcher.
    pub fn new(on: &Loop, handler: Rc<dyn Handler>) -> Io {
        Io(Watcher::new(Kind::Io, on, handler))
    }

    /// Watches `fd` for `events` ([`READ`], [`WRITE`] or both; 0 stops) from now on.
    pub fn start(&self, fd: BorrowedFd<'_>, events: i32) {
        // SAFETY: watcher and loop are alive.
        unsafe { evk_io_start(self.0.as_ptr(), fd.as_raw_fd(), events) }
    }

    /// Stops watching; harmless when stopped.
    pub fn stop(&self) {
        // SAFETY: watcher and loop are alive.
        unsafe { evk_io_stop(self.0.as_ptr()) }
    }
}

/// Fires once, some time after it was started.
pub struct Timer(Watcher);

impl Timer {
    /// A stopped timer.
    pub fn new(on: &Loop, handler: Rc<dyn Handler>) -> Timer {
        Timer(Watcher::new(Kind::Timer, on, handler))
    }

    /// (Re)starts it to fire `after` the beginning of this turn of the loop. It can therefore fire
    /// early by as long as this turn has taken so far: who waits for an instant checks the clock.
    pub fn start(&self, after: Duration) {
        // SAFETY: watcher and loop are alive.
        unsafe { evk_timer_start(self.0.as_ptr(), after.as_secs_f64()) }
    }

    /// Stops it; harmless when stopped.
    pub fn stop(&self) {
        // SAFETY: watcher and loop are alive.
        unsafe { evk_timer_stop(self.0.as_ptr()) }
    }
}

/// Fires in each turn of the loop, when the callbacks have run and it is about to wait.
pub struct Prepare(Watcher);

impl Prepare {
    /// A stopped watcher.
    pub fn new(on: &Loop, handler: Rc<dyn Handler>) -> Prepare {
        Prepare(Watcher::new(Kind::Prepare, on, handler))
    }

    /// Starts it; harmless when started. It keeps the loop running until stopped.
    pub fn start(&self) {
        // SAFETY: watcher and loop are alive.
        unsafe { evk_prepare_start(self.0.as_ptr()) }
    }

    /// Stops it; harmless when stopped.
    pub fn stop(&self) {
        // SAFETY: watcher and loop are alive.
        unsafe { evk_prepare_stop(self.0.as_ptr()) }
    }
}

/// The watcher as other threads know it; none once it is gone.
struct Shared(Option<NonNull<RawWatcher>>);

// SAFETY: other threads only ever hand the pointer to ev_async_send, which EV allows from any
// thread, and only under the mutex that the owner takes before it frees the watcher.
unsafe impl Send for Shared {}

/// Fires when another thread asks for it. It is watching from the moment it is made and keeps the
/// loop running until dropped.
pub struct Async {
    shared: Arc<Mutex<Shared>>,
    generation: i32,
    watcher: Option<Watcher>,
}

/// The other thread's end of an [`Async`]. May outlive it.
pub struct AsyncSender(Arc<Mutex<Shared>>);

impl Async {
    /// A started watcher.
    pub fn new(on: &Loop, handler: Rc<dyn Handler>) -> Async {
        let watcher = Watcher::new(Kind::Async, on, handler);
        // SAFETY: watcher and loop are alive.
        unsafe { evk_async_start(watcher.as_ptr()) };
        Async {
            shared: Arc::new(Mutex::new(Shared(Some(watcher.raw)))),
            generation: process_generation(),
            watcher: Some(watcher),
        }
    }

    /// A handle with which a thread can wake the loop.
    pub fn sender(&self) -> AsyncSender {
        AsyncSender(self.shared.clone())
    }
}

impl Drop for Async {
    fn drop(&mut self) {
        // In a forked child the mutex may be locked for ever by a thread that only the parent has;
        // there is nobody to hide the watcher from either.
        if self.generation == process_generation() {
            self.shared.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
        }
        if let Some(watcher) = self.watcher.take() {
            // SAFETY: watcher and loop are alive.
            unsafe { evk_async_stop(watcher.as_ptr()) };
        }
    }
}

impl AsyncSender {
    /// Makes the watcher fire; nothing happens when it is gone.
    pub fn send(&self) {
        let shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = shared.0 {
            // SAFETY: alive, since its owner clears the place before freeing it.
            unsafe { evk_async_send(watcher.as_ptr()) }
        }
    }
}

/// Runs a handler for ev.c.
#[no_mangle]
unsafe extern "C" fn evk_dispatch(handler: *const c_void, events: c_int) {
    // SAFETY: the pointer that `Watcher::new` gave to C and that is alive while the watcher is. The
    // clone keeps the handler while it runs, should it drop its own watcher.
    let handler = unsafe { (*handler.cast::<Rc<dyn Handler>>()).clone() };
    // SAFETY: EV runs its watchers on the interpreter's thread.
    unsafe {
        perl_xs::callback("EV::Kafka", |perl| {
            // An exit is remembered by perl-xs and carried out by the C frame.
            let (Flow::Continue | Flow::Exit) = handler.fired(perl, events);
        });
    }
}

/// Most parts that one system call takes everywhere (POSIX's IOV_MAX is at least 16; Linux has 1024).
const MAX_PARTS: usize = 1024;

/// Writes the parts to a socket in one system call that raises no SIGPIPE; gives the bytes taken.
///
/// # Errors
/// As `sendmsg(2)`; `WouldBlock` when the socket's buffer is full.
pub fn send_vectored(socket: BorrowedFd<'_>, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let count = parts.len().min(MAX_PARTS);
    // SAFETY: IoSlice has iovec's layout on Unix by its documentation, and the slices are alive.
    let sent = unsafe { evk_send_vectored(socket.as_raw_fd(), parts.as_ptr().cast(), count) };
    sent_or_error(sent)
}

/// As [`send_vectored`] with one part.
///
/// # Errors
/// As for [`send_vectored`].
pub fn send(socket: BorrowedFd<'_>, data: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is alive.
    sent_or_error(unsafe { evk_send(socket.as_raw_fd(), data.as_ptr().cast(), data.len()) })
}

fn sent_or_error(sent: isize) -> io::Result<usize> {
    usize::try_from(sent).map_err(|_| io::Error::from_raw_os_error(-sent as i32))
}

/// Whether the peer has closed its end of the connection, also when what it said before that is
/// still unread.
pub fn peer_closed(socket: BorrowedFd<'_>) -> bool {
    // SAFETY: an open descriptor; nothing is read.
    unsafe { evk_peer_closed(socket.as_raw_fd()) != 0 }
}

/// How many of the bytes that were written the peer's system has not acknowledged; none where the
/// system does not tell.
pub fn unacknowledged(socket: BorrowedFd<'_>) -> Option<usize> {
    // SAFETY: an open descriptor.
    let bytes = unsafe { evk_unacknowledged(socket.as_raw_fd()) };
    usize::try_from(bytes).ok()
}

/// Has the system probe the connection while it is idle (SO_KEEPALIVE).
pub fn keep_alive(socket: BorrowedFd<'_>) {
    // SAFETY: an open descriptor.
    unsafe { evk_keep_alive(socket.as_raw_fd()) }
}

/// Starts a thread in which no signal handler ever runs: Perl's need an interpreter.
///
/// # Errors
/// When the system has no thread to give.
pub fn spawn_quietly<F: FnOnce() + Send + 'static>(name: &str, run: F) -> io::Result<()> {
    // SAFETY: a pair that changes and restores this thread's signal mask; the new thread inherits it.
    unsafe { evk_block_signals() };
    let spawned = thread::Builder::new().name(name.into()).spawn(run);
    unsafe { evk_restore_signals() };
    spawned.map(drop)
}

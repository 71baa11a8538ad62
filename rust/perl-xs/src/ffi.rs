//! The C half's interface (`csrc/`). Every function that may run Perl code is protected there: none of them longjmps.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

/// A Perl scalar, array, hash or code value, by address only.
#[repr(C)]
pub struct SV {
    _opaque: [u8; 0],
}

/// The interpreter: `PerlInterpreter *` on a perl with threads, ignored by the C side otherwise.
pub type Interp = *mut c_void;

pub const OK: c_int = 0;
pub const DIED: c_int = 1;
pub const EXIT: c_int = 2;

/// What the trampoline and a Rust body share.
#[repr(C)]
pub struct RawFrame {
    pub args: *const *mut SV,
    pub items: usize,
    pub ret: *mut *mut SV,
    pub nret: usize,
    pub error: *mut SV,
    pub want_list: c_int,
}

/// What can be read of an argument in place: `kinds` says which fields count.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawPlace {
    pub kinds: u32,
    pub int: i64,
    pub ptr: *const u8,
    pub len: usize,
}

pub const PLACE_BYTES: u32 = 1;
pub const PLACE_INT: u32 = 2;
pub const PLACE_UNDEF: u32 = 4;
pub const PLACE_CODE: u32 = 8;
pub const PLACE_UTF8: u32 = 16;

/// A byte string, or undef when `ptr` is null.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawBytes {
    pub ptr: *const u8,
    pub len: usize,
}

#[repr(C)]
pub struct RawNumber {
    pub kind: c_int,
    pub int: i64,
    pub float: f64,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawArg {
    pub kind: u32,
    pub int: i64,
    pub ptr: *const c_void,
    pub len: usize,
}

pub const ARG_UNDEF: u32 = 0;
pub const ARG_INT: u32 = 1;
pub const ARG_UINT: u32 = 2;
pub const ARG_FLOAT: u32 = 3;
pub const ARG_BYTES: u32 = 4;
pub const ARG_SV: u32 = 5;
pub const ARG_SHARED: u32 = 6;
pub const ARG_TEMPLATE: u32 = 7;
pub const ARG_ROWS: u32 = 8;
pub const ARG_TEXT: u32 = 9;

pub const MAX_SLOTS: usize = 8;

/// What a callback is called with behind its own arguments; the count is that of whoever takes it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct RawWith {
    pub kind: u32,
    pub int: i64,
    pub sv: *mut SV,
}

impl RawWith {
    pub const NOTHING: RawWith = RawWith {
        kind: 0,
        int: 0,
        sv: std::ptr::null_mut(),
    };
}

pub const WITH_INT: u32 = 1;
pub const WITH_REF: u32 = 2;
pub const WITH_VALUE: u32 = 3;

/// One call of a loop, as Rust describes it to C.
#[repr(C)]
pub struct RawCall {
    pub callee: *mut SV,
    pub with: RawWith,
    pub release: c_int,
    pub nargs: u32,
    pub args: [RawArg; MAX_SLOTS],
}

pub type NextFn = unsafe extern "C" fn(data: *mut c_void, call: *mut RawCall) -> c_int;
pub type InitFn = unsafe extern "C" fn(perl: Interp, init: *const c_void) -> *mut SV;

/// A node of a template in pre-order; `count` children follow a container.
#[repr(C)]
pub struct RawNode {
    pub kind: u32,
    pub count: u32,
    pub leaf: u32,
    pub key: RawBytes,
    pub text: RawBytes,
}

pub const NODE_HASH: u32 = 0;
pub const NODE_ARRAY: u32 = 1;
pub const NODE_INT: u32 = 2;
pub const NODE_STR: u32 = 3;
pub const NODE_UNDEF: u32 = 4;

#[repr(C)]
pub struct RawTemplate {
    _opaque: [u8; 0],
}

/// A row of a list of rows; the count of `value` is the row's until C has taken it.
#[repr(C)]
pub struct RawRow {
    pub first: i64,
    pub a: RawBytes,
    pub b: RawBytes,
    pub value: *mut SV,
    pub last: i64,
    pub text: u32,
}

pub const ROW_A_TEXT: u32 = 1;
pub const ROW_B_TEXT: u32 = 2;

#[repr(C)]
pub struct RawRows {
    _opaque: [u8; 0],
}

/// The head of an attached object, as the magic points to it.
#[repr(C)]
pub struct RawHolder {
    pub type_number: u32,
    pub pid: i32,
    pub value: *const c_void,
    pub free: unsafe extern "C" fn(perl: Interp, holder: *mut RawHolder, dirty: c_int),
}

pub const FIND_OK: c_int = 0;
pub const FIND_NOT_REF: c_int = 1;
// 2: none; whatever else C says counts as that.
pub const FIND_DESTROYED: c_int = 3;
pub const FIND_CLONED: c_int = 4;

#[repr(C)]
pub struct RawFastArgs {
    pub a: RawBytes,
    pub b: RawBytes,
    pub c: RawBytes,
    pub callback: *mut SV,
    pub scalars: *const *mut SV,
    pub with: Cell<RawWith>,
    pub options: *const RawFastOptions,
    pub answer: i64,
    pub asked: Cell<*mut SV>,
    pub answers: Cell<i64>,
}

/// What was given by name. What C has behind it is nobody else's.
#[repr(C)]
pub struct RawFastOptions {
    pub given: u32,
    pub integers: [i64; FAST_INTEGERS],
    pub pairs: *const RawPair,
    pub npairs: usize,
}

pub const FAST_INTEGERS: usize = 2;

#[repr(C)]
pub struct RawPair {
    pub name: RawBytes,
    pub value: RawBytes,
    pub utf8: u32,
}

pub const PAIR_NAME_UTF8: u32 = 1;
pub const PAIR_VALUE_UTF8: u32 = 2;

#[repr(C)]
pub struct RawFast {
    pub type_number: u32,
    pub nmethods: u32,
    pub entry: unsafe extern "C" fn(
        def: *const RawFast,
        value: *const c_void,
        args: *const RawFastArgs,
        error: *mut *mut SV,
    ) -> u32,
    pub handler: *const c_void,
    pub fallback: *const c_char,
    pub answered: *const c_char,
    pub methods: *const *const c_char,
    pub integers: [RawBytes; FAST_INTEGERS],
    pub pairs: RawBytes,
}

extern "C" {
    pub fn pxs_current() -> Interp;
    pub fn pxs_dirty(perl: Interp) -> c_int;
    pub fn pxs_exit_pending() -> c_int;
    pub fn pxs_sv_count(perl: Interp) -> usize;
    pub fn pxs_set_destruct_level(perl: Interp, level: c_int);
    pub fn pxs_warn(perl: Interp, what: *const u8, what_len: usize, text: *mut SV) -> c_int;

    pub fn pxs_inc(sv: *mut SV);
    pub fn pxs_dec(sv: *mut SV);
    pub fn pxs_refcount(sv: *mut SV) -> usize;
    /// Prepares freeing closures of which the caller holds the last references.
    pub fn pxs_unlist(perl: Interp, codes: *mut *mut SV, count: usize);

    pub fn pxs_new_undef(perl: Interp) -> *mut SV;
    pub fn pxs_new_bytes(perl: Interp, ptr: *const u8, len: usize) -> *mut SV;
    pub fn pxs_new_text(perl: Interp, ptr: *const u8, len: usize) -> *mut SV;
    pub fn pxs_new_shared(perl: Interp, ptr: *const u8, len: usize) -> *mut SV;
    pub fn pxs_new_int(perl: Interp, value: i64) -> *mut SV;
    pub fn pxs_new_uint(perl: Interp, value: u64) -> *mut SV;
    pub fn pxs_new_float(perl: Interp, value: f64) -> *mut SV;
    pub fn pxs_new_ref(perl: Interp, to: *mut SV) -> *mut SV;
    pub fn pxs_bless(perl: Interp, rv: *mut SV, class: *mut SV) -> c_int;

    pub fn pxs_is_defined(sv: *mut SV) -> c_int;
    pub fn pxs_is_ref(sv: *mut SV) -> c_int;
    pub fn pxs_has_magic(sv: *mut SV) -> c_int;
    pub fn pxs_is_overloaded(sv: *mut SV) -> c_int;
    pub fn pxs_is_utf8(sv: *mut SV) -> c_int;
    pub fn pxs_is_object(sv: *mut SV) -> c_int;
    pub fn pxs_referent(sv: *mut SV) -> *mut SV;
    pub fn pxs_is_code(sv: *mut SV) -> c_int;
    pub fn pxs_is_array(sv: *mut SV) -> c_int;
    /// Whether the value is an array itself.
    pub fn pxs_is_list(sv: *mut SV) -> c_int;
    pub fn pxs_is_hash(sv: *mut SV) -> c_int;
    pub fn pxs_derived_from(
        perl: Interp,
        sv: *mut SV,
        class: *mut SV,
        out: *mut c_int,
        err: *mut *mut SV,
    ) -> c_int;

    /// A new plain scalar with the value: magic read once.
    pub fn pxs_resolve(perl: Interp, sv: *mut SV, out: *mut *mut SV, err: *mut *mut SV) -> c_int;
    /// A new plain string, or undef (`out` null): magic and overloading followed.
    pub fn pxs_to_string(perl: Interp, sv: *mut SV, out: *mut *mut SV, err: *mut *mut SV) -> c_int;
    /// Whether `sv` is a string that can be read in place.
    pub fn pxs_peek(sv: *mut SV, out: *mut RawBytes) -> c_int;
    /// A new string with the buffer of the one at `sv`, copied when somebody changes that; null if it cannot be shared.
    pub fn pxs_share(perl: Interp, sv: *mut SV, out: *mut RawBytes) -> *mut SV;
    pub fn pxs_plain_int(sv: *mut SV, out: *mut i64) -> c_int;
    pub fn pxs_to_number(
        perl: Interp,
        sv: *mut SV,
        out: *mut RawNumber,
        err: *mut *mut SV,
    ) -> c_int;
    pub fn pxs_to_bool(perl: Interp, sv: *mut SV, out: *mut c_int, err: *mut *mut SV) -> c_int;

    pub fn pxs_new_av(perl: Interp, capacity: usize) -> *mut SV;
    pub fn pxs_av_push_new(perl: Interp, av: *mut SV, value: *mut SV);
    pub fn pxs_av_len(perl: Interp, av: *mut SV, out: *mut usize, err: *mut *mut SV) -> c_int;
    pub fn pxs_av_get(
        perl: Interp,
        av: *mut SV,
        index: usize,
        out: *mut *mut SV,
        err: *mut *mut SV,
    ) -> c_int;
    pub fn pxs_new_hv(perl: Interp) -> *mut SV;
    pub fn pxs_hv_store_new(perl: Interp, hv: *mut SV, key: *const u8, len: usize, value: *mut SV);
    pub fn pxs_hv_store_text(perl: Interp, hv: *mut SV, key: *const u8, len: usize, value: *mut SV);
    pub fn pxs_hv_get(
        perl: Interp,
        hv: *mut SV,
        key: *const u8,
        len: usize,
        out: *mut *mut SV,
        err: *mut *mut SV,
    ) -> c_int;
    /// All pairs as a new array: key string, value, key string, value…
    pub fn pxs_hv_pairs(perl: Interp, hv: *mut SV, out: *mut *mut SV, err: *mut *mut SV) -> c_int;

    pub fn pxs_new_xsub(perl: Interp, name: *const c_char, def: *const c_void);
    pub fn pxs_new_fast(perl: Interp, name: *const c_char, def: *const RawFast);
    pub fn pxs_new_clone_skip(perl: Interp, name: *const c_char);
    pub fn pxs_new_protect(perl: Interp);
    /// Until `pxs_places_end` no Perl code runs.
    pub fn pxs_places(args: *const *mut SV, count: usize, places: *mut RawPlace);
    pub fn pxs_places_end();
    pub fn pxs_frame_push(frame: *mut RawFrame, sv: *mut SV);
    pub fn pxs_call(
        perl: Interp,
        callee: *mut SV,
        method: *const c_char,
        args: *const RawArg,
        nargs: usize,
        result: *mut *mut SV,
        err: *mut *mut SV,
    ) -> c_int;

    pub fn pxs_attach(perl: Interp, referent: *mut SV, holder: *mut RawHolder) -> c_int;
    pub fn pxs_package_var(perl: Interp, name: *const c_char) -> *mut SV;
    pub fn pxs_find(sv: *mut SV, type_number: u32, out: *mut *mut RawHolder) -> c_int;
    pub fn pxs_detach(referent: *mut SV, type_number: u32) -> *mut RawHolder;
    /// A new counted reference to a referent that is still alive, or null.
    pub fn pxs_upgrade(perl: Interp, referent: *mut SV) -> *mut SV;

    pub fn pxs_loop_run(
        perl: Interp,
        slots: *mut *mut SV,
        next: NextFn,
        data: *mut c_void,
        what: *const u8,
        what_len: usize,
        died: *mut *mut SV,
    ) -> c_int;
    pub fn pxs_loop_free(slots: *mut *mut SV);

    pub fn pxs_rows_new() -> *mut RawRows;
    pub fn pxs_rows_set(rows: *mut RawRows, described: *const RawRow, count: usize);
    pub fn pxs_rows_free(rows: *mut RawRows);
    pub fn pxs_template_new(
        perl: Interp,
        nodes: *const RawNode,
        count: usize,
        leaves: usize,
    ) -> *mut RawTemplate;
    pub fn pxs_template_leaves(template: *mut RawTemplate) -> *mut i64;
    pub fn pxs_template_build(perl: Interp, template: *mut RawTemplate) -> *mut SV;
    pub fn pxs_template_lend(perl: Interp, template: *mut RawTemplate) -> *mut SV;
    pub fn pxs_template_rebuilds(template: *const RawTemplate) -> usize;
    pub fn pxs_template_free(template: *mut RawTemplate);
}

extern "C-unwind" {
    /// Checks the versions, runs `init` and croaks with what it returns. Longjmps: only for [`crate::boot!`].
    #[cfg(perl_threads)]
    pub fn pxs_boot(perl: Interp, cv: *mut c_void, init_entry: InitFn, init: *const c_void);
    #[cfg(not(perl_threads))]
    pub fn pxs_boot(cv: *mut c_void, init_entry: InitFn, init: *const c_void);
}

//! `PerlXsTest::Log`: an object whose `append` is a fast XSUB.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use perl_xs::{
    attach, call, register, register_fast3, CallLoop, Callee, Calls, Croak, FastArgs, FastOptions,
    FastOutcome, FastXsub, Frame, InPlace, Native, Perl, Slots, Sv, With, XsubDef,
};

static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "PerlXsTest::Log::_attach",
        body: attach_log,
    },
    XsubDef {
        name: "PerlXsTest::Log::entries",
        body: entries,
    },
    XsubDef {
        name: "PerlXsTest::Log::callbacks",
        body: callbacks,
    },
    XsubDef {
        name: "PerlXsTest::Log::call_all",
        body: call_all,
    },
    XsubDef {
        name: "PerlXsTest::Log::clear",
        body: clear,
    },
    XsubDef {
        name: "PerlXsTest::in_place",
        body: in_place,
    },
    XsubDef {
        name: "PerlXsTest::call_in_place",
        body: call_in_place,
    },
    XsubDef {
        name: "PerlXsTest::Log::empty_xsub",
        body: empty_xsub,
    },
];

const BEGAN: FastOutcome = FastOutcome::call(0);
const FULL: FastOutcome = FastOutcome::call(1);

/// `in_place(@args)`: what can be read of each of four arguments where it lies, as text.
fn in_place(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let kinds = frame.in_place(|args: &[InPlace<'_>; 4]| {
        args.iter()
            .map(|arg| {
                let bytes = match arg.bytes() {
                    Some(Some(bytes)) => format!("bytes {}", String::from_utf8_lossy(bytes)),
                    Some(None) => "undef".into(),
                    None => "no bytes".into(),
                };
                let int = arg
                    .int()
                    .map_or(String::new(), |int| format!(", int {int}"));
                let code = if arg.is_code() { ", code" } else { "" };
                assert_eq!(arg.code().is_some(), arg.is_code());
                bytes + &int + code
            })
            .collect::<Vec<_>>()
    });
    match kinds {
        Some(kinds) => kinds
            .iter()
            .for_each(|kind| frame.ret_bytes(kind.as_bytes())),
        None => frame.ret_bytes(b"too many"),
    }
    Ok(())
}

/// `call_in_place($code)`: calls it while arguments are read in place, which must fail.
fn call_in_place(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    frame
        .in_place(|args: &[InPlace<'_>; 1]| {
            let code = args[0].code().ok_or("expected a code reference")?;
            call(perl, &code, &[]).ok()
        })
        .unwrap_or(Ok(()))
}

#[derive(Default)]
struct Log {
    entries: RefCell<Vec<u8>>,
    count: Cell<usize>,
    callbacks: RefCell<Vec<Sv>>,
    /// What each of them is called with.
    withs: RefCell<Vec<Option<With>>>,
}

impl Native for Log {
    const NAME: &'static str = "PerlXsTest::Log";
}

fn text(bytes: Option<&[u8]>) -> &[u8] {
    bytes.unwrap_or(b"undef")
}

/// Appends `a|b|c`; the words of `a` say what else is to happen.
fn append(log: &Log, args: &FastArgs<'_>) -> FastOutcome {
    match args.a() {
        Some(b"slow") => return FastOutcome::FALLBACK,
        Some(b"panic") => panic!("asked to"),
        Some(b"drop") => log.callbacks.borrow_mut().clear(),
        Some(b"ask") if args.answer().is_none() => {
            return match args.callback() {
                Some(code) => args.ask(code, 3),
                None => FastOutcome::FALLBACK,
            }
        }
        // It changes its mind about the answer 2.
        Some(b"ask") if args.answer() == Some(2) => return FastOutcome::FALLBACK,
        _ => {}
    }
    {
        let mut entries = log.entries.borrow_mut();
        for part in [args.a(), args.b(), args.c()] {
            entries.extend_from_slice(text(part));
            entries.push(b'|');
        }
        if let Some(answer) = args.answer() {
            entries.extend_from_slice(format!("answer {answer}|").as_bytes());
        }
        if let Some(options) = args.options() {
            entries.extend_from_slice(&said(&options));
        }
        entries.push(b'\n');
    }
    if let Some(callback) = args.callback() {
        log.callbacks.borrow_mut().push(callback);
        log.withs.borrow_mut().push(args.with());
    }
    let count = log.count.get() + 1;
    log.count.set(count);
    match (count, args.a()) {
        (1, Some(b"full")) => BEGAN.and(FULL),
        (1, _) => BEGAN,
        (_, Some(b"full")) => FULL,
        _ => FastOutcome::DONE,
    }
}

/// Numbers by their places, and pairs with `+` at what is characters.
fn said(options: &FastOptions<'_>) -> Vec<u8> {
    let mut said = Vec::new();
    for (index, name) in ["number", "other"].iter().enumerate() {
        if let Some(number) = options.integer(index) {
            said.extend_from_slice(format!("{name} {number}|").as_bytes());
        }
    }
    for pair in options.pairs() {
        said.extend_from_slice(pair.name());
        said.extend_from_slice(if pair.name_is_utf8() { b"+=" } else { b"=" });
        said.extend_from_slice(text(pair.value()));
        said.extend_from_slice(if pair.value_is_utf8() { b"+|" } else { b"|" });
    }
    said
}

/// The callbacks that were kept, in order.
struct Kept(std::vec::IntoIter<(Sv, Option<With>)>);

impl Calls for Kept {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        let (code, with) = self.0.next()?;
        slots.int(17);
        if let Some(with) = with {
            slots.with(with);
        }
        Some(Callee::Release(code))
    }
}

/// `call_all`: calls what was kept with 17 and what it was kept with.
fn call_all(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let log = frame.object::<Log>()?;
    let kept: Vec<_> = log
        .callbacks
        .take()
        .into_iter()
        .zip(log.withs.take())
        .collect();
    CallLoop::new()
        .run(frame.perl(), &mut Kept(kept.into_iter()), "kept")
        .ok()
}

/// As cheap as a handler can be.
fn nothing(log: &Log, args: &FastArgs<'_>) -> FastOutcome {
    log.count
        .set(log.count.get() + args.c().map_or(0, <[u8]>::len));
    FastOutcome::DONE
}

pub fn init(perl: Perl) {
    register(perl, XSUBS);
    let methods = &["_began", "_full"];
    register_fast3(
        perl,
        FastXsub {
            name: "PerlXsTest::Log::append",
            handler: append,
            fallback: "_slow",
            answered: "_answered",
            integers: &["number", "other"],
            pairs: "pairs",
            methods,
        },
    );
    register_fast3(
        perl,
        FastXsub {
            name: "PerlXsTest::Log::nothing",
            handler: nothing,
            fallback: "_slow",
            answered: "_answered",
            integers: &["number", "other"],
            pairs: "pairs",
            methods: &[],
        },
    );
}

fn attach_log(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let object = frame.value(0)?.ok_or("usage")?;
    attach(frame.perl(), &object, Rc::new(Log::default()))?;
    frame.ret(object);
    Ok(())
}

fn entries(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let log = frame.object::<Log>()?;
    let entries = log.entries.borrow().clone();
    frame.ret_bytes(&entries);
    Ok(())
}

fn callbacks(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let log = frame.object::<Log>()?;
    let callbacks: Vec<Sv> = log
        .callbacks
        .borrow()
        .iter()
        .map(|code| Sv::new_ref(frame.perl(), code))
        .collect();
    frame.ret_list(callbacks);
    Ok(())
}

fn clear(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let log = frame.object::<Log>()?;
    log.entries.borrow_mut().clear();
    log.count.set(0);
    let kept = (log.callbacks.take(), log.withs.take());
    drop(kept);
    Ok(())
}

fn empty_xsub(_frame: &mut Frame<'_>) -> Result<(), Croak> {
    Ok(())
}

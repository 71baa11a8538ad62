//! Native objects: counters with a handler.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use perl_xs::{
    attach, call, call_method, detach, register_clone_skip, Arg, Croak, Frame, Freed, Native,
    ObjectHandle, Perl, Sv, XsubDef,
};

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "PerlXsTest::Counter::_attach",
        body: attach_counter,
    },
    XsubDef {
        name: "PerlXsTest::Counter::add",
        body: add,
    },
    XsubDef {
        name: "PerlXsTest::Counter::value",
        body: value,
    },
    XsubDef {
        name: "PerlXsTest::Counter::on",
        body: on,
    },
    XsubDef {
        name: "PerlXsTest::Counter::on_free",
        body: on_free,
    },
    XsubDef {
        name: "PerlXsTest::Counter::fire",
        body: fire,
    },
    XsubDef {
        name: "PerlXsTest::Counter::detach",
        body: detach_counter,
    },
    XsubDef {
        name: "PerlXsTest::Counter::myself",
        body: myself,
    },
    XsubDef {
        name: "PerlXsTest::Counter::tell",
        body: tell,
    },
    XsubDef {
        name: "PerlXsTest::live",
        body: live,
    },
    XsubDef {
        name: "PerlXsTest::Label::_attach",
        body: attach_label,
    },
    XsubDef {
        name: "PerlXsTest::Label::text",
        body: label_text,
    },
];

thread_local! {
    static LIVE: Cell<i64> = const { Cell::new(0) };
}

struct Counter {
    count: Cell<i64>,
    handler: RefCell<Option<Sv>>,
    free_handler: RefCell<Option<Sv>>,
    handle: RefCell<ObjectHandle>,
}

impl Native for Counter {
    const NAME: &'static str = "PerlXsTest::Counter";

    fn on_free(&self, perl: Perl, how: Freed) {
        // Taken out first: what it does may come back here.
        let handler = self.free_handler.borrow_mut().take();
        if let (Some(handler), Freed::Normally) = (handler, how) {
            let found = self.handle.borrow().upgrade(perl).is_some();
            let _ = call(
                perl,
                &handler,
                &[Arg::Int(self.count.get()), Arg::Int(i64::from(found))],
            )
            .or_warn(perl, "on_free handler error");
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        LIVE.with(|live| live.set(live.get() - 1));
    }
}

struct Label(Vec<u8>);

impl Native for Label {
    const NAME: &'static str = "PerlXsTest::Label";
}

pub fn init(perl: Perl) {
    register_clone_skip(perl, "PerlXsTest::Skipped");
}

/// How many counters there are.
fn live(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.ret_int(LIVE.with(Cell::get));
    Ok(())
}

fn attach_counter(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let start = frame.int(1)?.unwrap_or(0);
    let object = frame.value(0)?.ok_or("usage: _attach($ref, $start)")?;
    LIVE.with(|live| live.set(live.get() + 1));
    let counter = Rc::new(Counter {
        count: Cell::new(start),
        handler: RefCell::new(None),
        free_handler: RefCell::new(None),
        handle: RefCell::new(ObjectHandle::dangling()),
    });
    *counter.handle.borrow_mut() = attach(frame.perl(), &object, counter.clone())?;
    frame.ret(object);
    Ok(())
}

/// `$counter->add($n)`: the argument is read first.
fn add(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let n = frame.int(1)?.unwrap_or(1);
    let counter = frame.object::<Counter>()?;
    counter.count.set(counter.count.get() + n);
    frame.ret_int(counter.count.get());
    Ok(())
}

fn value(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let counter = frame.object::<Counter>()?;
    frame.ret_int(counter.count.get());
    Ok(())
}

fn on(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = frame.code(1)?;
    let counter = frame.object::<Counter>()?;
    let old = counter.handler.replace(code);
    drop(old); // may run anything: no borrow is open
    Ok(())
}

fn on_free(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = frame.code(1)?;
    let counter = frame.object::<Counter>()?;
    let old = counter.free_handler.replace(code);
    drop(old);
    Ok(())
}

/// Calls the handler, which may destroy the object, and returns the count after it.
fn fire(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let counter = frame.object::<Counter>()?;
    let handler = counter.handler.borrow().clone();
    if let Some(handler) = handler {
        call(frame.perl(), &handler, &[Arg::Int(counter.count.get())])
            .or_warn(frame.perl(), "handler error")
            .ok()?;
    }
    frame.ret_int(counter.count.get());
    Ok(())
}

fn detach_counter(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let object = frame.value(0)?.ok_or("usage")?;
    let counter =
        detach::<Counter>(&object).map_err(|error| Croak::from(Counter::describe(error)))?;
    frame.ret_int(counter.count.get());
    Ok(())
}

/// A new reference to the object, found through its handle.
fn myself(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let counter = frame.object::<Counter>()?;
    let found = counter.handle.borrow().upgrade(frame.perl());
    match found {
        Some(reference) => frame.ret(reference),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// `$counter->tell($method)`: calls the method on the object itself, through its handle.
fn tell(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let method = String::from_utf8_lossy(&frame.bytes(1)?.unwrap_or_default()).into_owned();
    let counter = frame.object::<Counter>()?;
    let reference = counter.handle.borrow().upgrade(frame.perl());
    if let Some(reference) = reference {
        call_method(
            frame.perl(),
            &reference,
            &method,
            &[Arg::Int(counter.count.get())],
        )
        .ok()?;
    }
    Ok(())
}

fn attach_label(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let text = frame.bytes(1)?.unwrap_or_default();
    let object = frame.value(0)?.ok_or("usage")?;
    attach(frame.perl(), &object, Rc::new(Label(text)))?;
    frame.ret(object);
    Ok(())
}

fn label_text(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let label = frame.object::<Label>()?;
    frame.ret_bytes(&label.0);
    Ok(())
}

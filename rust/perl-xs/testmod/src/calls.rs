//! Calls into Perl: single ones, loops, templates.

use std::cell::RefCell;

use perl_xs::{
    call, call_method, call_method_scalar, call_scalar, drop_together, Arg, CallLoop, Callee,
    Calls, Croak, Flow, Frame, Node, Outcome, Slots, Sv, Template, XsubDef,
};

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "PerlXsTest::call",
        body: call_void,
    },
    XsubDef {
        name: "PerlXsTest::call_scalar",
        body: call_for_value,
    },
    XsubDef {
        name: "PerlXsTest::call_method",
        body: call_method_void,
    },
    XsubDef {
        name: "PerlXsTest::call_method_scalar",
        body: call_method_for_value,
    },
    XsubDef {
        name: "PerlXsTest::call_or_warn",
        body: call_or_warn,
    },
    XsubDef {
        name: "PerlXsTest::call_with_fresh",
        body: call_with_fresh,
    },
    XsubDef {
        name: "PerlXsTest::warn",
        body: warn,
    },
    XsubDef {
        name: "PerlXsTest::drop_last",
        body: drop_last,
    },
    XsubDef {
        name: "PerlXsTest::keep",
        body: keep,
    },
    XsubDef {
        name: "PerlXsTest::drop_together",
        body: drop_kept,
    },
    XsubDef {
        name: "PerlXsTest::deliver",
        body: deliver,
    },
    XsubDef {
        name: "PerlXsTest::deliver_each",
        body: deliver_each,
    },
    XsubDef {
        name: "PerlXsTest::deliver_until_died",
        body: deliver_until_died,
    },
    XsubDef {
        name: "PerlXsTest::lend_each",
        body: lend_each,
    },
    XsubDef {
        name: "PerlXsTest::consume",
        body: consume,
    },
    XsubDef {
        name: "PerlXsTest::loop_panic",
        body: loop_panic,
    },
    XsubDef {
        name: "PerlXsTest::template_once",
        body: template_once,
    },
];

fn rest(frame: &Frame<'_>, from: usize) -> Vec<Sv> {
    (from..frame.len())
        .filter_map(|index| frame.arg(index).cloned())
        .collect()
}

fn callback(frame: &Frame<'_>, index: usize) -> Result<Sv, Croak> {
    frame
        .code(index)?
        .ok_or_else(|| Croak::from("expected a code reference"))
}

fn report(frame: &mut Frame<'_>, outcome: Outcome) -> Result<(), Croak> {
    match outcome {
        Outcome::Returned => frame.ret_bytes(b"returned"),
        Outcome::Died(error) => {
            frame.ret_bytes(b"died");
            frame.ret(error);
        }
        Outcome::Exit => return Err(Croak::Exit),
    }
    Ok(())
}

/// `call($code, @args)`: `("returned")` or `("died", $error)`.
fn call_void(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = callback(frame, 0)?;
    let values = rest(frame, 1);
    let args: Vec<Arg<'_>> = values.iter().map(Arg::Sv).collect();
    let outcome = call(frame.perl(), &code, &args);
    report(frame, outcome)
}

/// `call_scalar($code, @args)`: its value; its die passes.
fn call_for_value(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = callback(frame, 0)?;
    let values = rest(frame, 1);
    let args: Vec<Arg<'_>> = values.iter().map(Arg::Sv).collect();
    let value = call_scalar(frame.perl(), &code, &args)?;
    frame.ret(value);
    Ok(())
}

/// `call_method($object_or_class, $name, @args)`.
fn call_method_void(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (object, name, values) = method_args(frame)?;
    let args: Vec<Arg<'_>> = values.iter().map(Arg::Sv).collect();
    let outcome = call_method(frame.perl(), &object, &name, &args);
    report(frame, outcome)
}

fn call_method_for_value(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let (object, name, values) = method_args(frame)?;
    let args: Vec<Arg<'_>> = values.iter().map(Arg::Sv).collect();
    let value = call_method_scalar(frame.perl(), &object, &name, &args)?;
    frame.ret(value);
    Ok(())
}

fn method_args(frame: &Frame<'_>) -> Result<(Sv, String, Vec<Sv>), Croak> {
    let object = frame.value(0)?.ok_or("usage")?;
    let name = String::from_utf8_lossy(&frame.bytes(1)?.unwrap_or_default()).into_owned();
    Ok((object, name, rest(frame, 2)))
}

/// `call_or_warn($code, $what)`.
fn call_or_warn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = callback(frame, 0)?;
    let what = String::from_utf8_lossy(&frame.bytes(1)?.unwrap_or_default()).into_owned();
    call(frame.perl(), &code, &[])
        .or_warn(frame.perl(), &what)
        .ok()
}

/// Calls with one argument of each kind that Rust makes.
fn call_with_fresh(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = callback(frame, 0)?;
    let args = [
        Arg::Undef,
        Arg::Int(i64::MIN),
        Arg::UInt(u64::MAX),
        Arg::Float(1.5),
        Arg::Bytes(b"by\0tes"),
        Arg::Bytes(b""),
    ];
    call(frame.perl(), &code, &args).ok()
}

fn warn(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let text = frame.bytes(0)?.unwrap_or_default();
    frame.perl().warn(text).ok()?;
    frame.ret_bytes(b"went on");
    Ok(())
}

/// `drop_last($maker)`: drops what the maker returns, in Rust.
fn drop_last(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let taker = callback(frame, 0)?;
    let value = call_scalar(perl, &taker, &[])?;
    drop(value);
    if perl.exit_pending() {
        return Err(Croak::Exit);
    }
    frame.ret_bytes(b"dropped");
    Ok(())
}

thread_local! {
    static KEPT: RefCell<Vec<Sv>> = const { RefCell::new(Vec::new()) };
}

/// `keep(@codes)`: until `drop_together`.
fn keep(frame: &mut Frame<'_>) -> Result<(), Croak> {
    for index in 0..frame.len() {
        let code = callback(frame, index)?;
        KEPT.with_borrow_mut(|kept| kept.push(code));
    }
    Ok(())
}

fn drop_kept(frame: &mut Frame<'_>) -> Result<(), Croak> {
    drop_together(frame.perl(), KEPT.take());
    Ok(())
}

/// As the answer to a Produce request looks.
fn result_shape() -> Node {
    let partition = Node::Hash(vec![
        ("partition", Node::Int(0)),
        ("error_code", Node::Int(1)),
        ("base_offset", Node::Int(2)),
    ]);
    let topic = Node::Hash(vec![
        ("topic", Node::Str(b"orders".to_vec())),
        ("partitions", Node::Array(vec![partition])),
    ]);
    Node::Hash(vec![
        ("topics", Node::Array(vec![topic])),
        ("throttle_time_ms", Node::Int(3)),
        ("extra", Node::Undef),
    ])
}

struct Deliveries {
    callbacks: std::vec::IntoIter<Sv>,
    template: Template,
    offset: i64,
}

impl Calls for Deliveries {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        let callback = self.callbacks.next()?;
        self.template.set(2, self.offset);
        self.offset += 1;
        slots.template(&mut self.template);
        slots.undef();
        Some(Callee::Release(callback))
    }
}

/// `deliver($maker)`: calls each callback of the list that the maker returns (a reference to it, which nobody else holds)
/// with a result (offsets from 0) and undef; returns how often the result was built.
fn deliver(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let maker = callback(frame, 0)?;
    let list = call_scalar(perl, &maker, &[])?;
    let array = perl_xs::ArrayRef::new(&list).ok_or("expected arrayref")?;
    let callbacks: Vec<Sv> = array.to_vec(perl)?.iter().filter_map(Sv::code).collect();
    drop((array, list));
    let mut deliveries = Deliveries {
        callbacks: callbacks.into_iter(),
        template: Template::new(perl, &result_shape()),
        offset: 0,
    };
    CallLoop::new()
        .run(perl, &mut deliveries, "delivery")
        .ok()?;
    frame.ret_int(deliveries.template.builds() as i64);
    Ok(())
}

/// `deliver_each($code, $count)`: as `deliver`, the same callback each time.
fn deliver_each(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let code = callback(frame, 0)?;
    let count = frame.int(1)?.unwrap_or(0).max(0) as usize;
    let callbacks = vec![code; count];
    let mut deliveries = Deliveries {
        callbacks: callbacks.into_iter(),
        template: Template::new(perl, &result_shape()),
        offset: 0,
    };
    CallLoop::new()
        .run(perl, &mut deliveries, "delivery")
        .ok()?;
    frame.ret_int(deliveries.template.builds() as i64);
    Ok(())
}

/// `deliver_until_died($code, $count)`: as `deliver_each`, up to the first die; `("returned")` or `("died", $error)`.
fn deliver_until_died(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let code = callback(frame, 0)?;
    let count = frame.int(1)?.unwrap_or(0).max(0) as usize;
    let mut deliveries = Deliveries {
        callbacks: vec![code; count].into_iter(),
        template: Template::new(perl, &result_shape()),
        offset: 0,
    };
    let outcome = CallLoop::new().run_until_died(perl, &mut deliveries);
    report(frame, outcome)
}

/// `lend_each($code, $count)`: as `deliver_each`, each in a call of its own.
fn lend_each(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let code = callback(frame, 0)?;
    let count = frame.int(1)?.unwrap_or(0);
    let mut template = Template::new(perl, &result_shape());
    for offset in 0..count {
        template.set(2, offset);
        let result = template.lend(perl);
        call(perl, &code, &[Arg::Sv(&result), Arg::Undef])
            .or_warn(perl, "delivery")
            .ok()?;
    }
    frame.ret_int(template.builds() as i64);
    Ok(())
}

struct Messages {
    code: Sv,
    topic: Sv,
    count: i64,
    offset: i64,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Calls for Messages {
    fn next<'a>(&'a mut self, slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        if self.offset == self.count {
            return None;
        }
        let offset = self.offset;
        self.offset += 1;
        self.key.clear();
        self.key.extend_from_slice(offset.to_string().as_bytes());
        slots.shared(&self.topic);
        slots.int(3);
        slots.int(offset);
        slots.bytes((offset % 4 != 3).then_some(&self.key));
        slots.bytes(Some(&self.value));
        slots.undef();
        slots.int(1_700_000_000_000 + offset);
        Some(Callee::Keep(&self.code))
    }
}

/// `consume($code, $count, $value_size)`: seven arguments each: topic, 3, offset, key (undef at each fourth), value, undef,
/// timestamp.
fn consume(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let code = callback(frame, 0)?;
    let count = frame.int(1)?.unwrap_or(0);
    let size = frame.int(2)?.unwrap_or(100).max(0) as usize;
    let mut messages = Messages {
        code,
        topic: Sv::shared(perl, b"orders"),
        count,
        offset: 0,
        key: Vec::new(),
        value: vec![b'v'; size],
    };
    let flow = CallLoop::new().run(perl, &mut messages, "on_message error");
    if flow == Flow::Exit {
        return Err(Croak::Exit);
    }
    frame.ret_int(messages.offset);
    Ok(())
}

struct Panicking(i64, Sv);

impl Calls for Panicking {
    fn next<'a>(&'a mut self, _slots: &mut Slots<'a>) -> Option<Callee<'a>> {
        self.0 += 1;
        assert!(self.0 < 3, "no third call");
        Some(Callee::Keep(&self.1))
    }
}

/// A loop whose Rust half panics at the third call.
fn loop_panic(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let code = callback(frame, 0)?;
    CallLoop::new()
        .run(frame.perl(), &mut Panicking(0, code), "panicking loop")
        .ok()?;
    frame.ret_bytes(b"went on");
    Ok(())
}

/// A result of the caller's own.
fn template_once(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let mut template = Template::new(perl, &result_shape());
    template.set(2, 42);
    let value = template.build(perl);
    frame.ret(value);
    Ok(())
}

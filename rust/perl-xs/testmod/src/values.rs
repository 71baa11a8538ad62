//! Arguments and results.

use perl_xs::{ArrayRef, Av, Croak, Frame, HashRef, Hv, Number, Sv, XsubDef};

pub static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "PerlXsTest::bytes",
        body: bytes,
    },
    XsubDef {
        name: "PerlXsTest::int",
        body: int,
    },
    XsubDef {
        name: "PerlXsTest::number",
        body: number,
    },
    XsubDef {
        name: "PerlXsTest::bool",
        body: bool,
    },
    XsubDef {
        name: "PerlXsTest::code",
        body: code,
    },
    XsubDef {
        name: "PerlXsTest::kind",
        body: kind,
    },
    XsubDef {
        name: "PerlXsTest::three",
        body: three,
    },
    XsubDef {
        name: "PerlXsTest::echo",
        body: echo,
    },
    XsubDef {
        name: "PerlXsTest::count",
        body: count,
    },
    XsubDef {
        name: "PerlXsTest::make",
        body: make,
    },
    XsubDef {
        name: "PerlXsTest::nested",
        body: nested,
    },
    XsubDef {
        name: "PerlXsTest::list",
        body: list,
    },
    XsubDef {
        name: "PerlXsTest::pairs",
        body: pairs,
    },
    XsubDef {
        name: "PerlXsTest::hash_get",
        body: hash_get,
    },
    XsubDef {
        name: "PerlXsTest::is_a",
        body: is_a,
    },
    XsubDef {
        name: "PerlXsTest::context",
        body: context,
    },
];

/// The bytes of the argument.
fn bytes(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let value = frame.bytes(0)?;
    frame.ret(Sv::bytes_or_undef(frame.perl(), value.as_deref()));
    Ok(())
}

/// The argument as an i64.
fn int(frame: &mut Frame<'_>) -> Result<(), Croak> {
    match frame.int(0)? {
        Some(value) => frame.ret_int(value),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// `("int" | "uint" | "float", value)`, or undef.
fn number(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let (kind, value): (&[u8], Sv) = match frame.number(0)? {
        None => {
            frame.ret_undef();
            return Ok(());
        }
        Some(Number::Int(value)) => (b"int", Sv::int(perl, value)),
        Some(Number::UInt(value)) => (b"uint", Sv::uint(perl, value)),
        Some(Number::Float(value)) => (b"float", Sv::float(perl, value)),
    };
    frame.ret_bytes(kind);
    frame.ret(value);
    Ok(())
}

fn bool(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let value = frame.bool(0)?;
    frame.ret_int(i64::from(value));
    Ok(())
}

/// A new reference to the code behind a code reference.
fn code(frame: &mut Frame<'_>) -> Result<(), Croak> {
    match frame.code(0)? {
        Some(code) => frame.ret(Sv::new_ref(frame.perl(), &code)),
        None => frame.ret_undef(),
    }
    Ok(())
}

/// What the flags of the argument say, as words.
fn kind(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let Some(sv) = frame.arg(0) else {
        return Err(Croak::from("usage: kind(value)"));
    };
    let words: Vec<&str> = [
        ("defined", sv.is_defined()),
        ("ref", sv.is_ref()),
        ("magic", sv.has_magic()),
        ("overloaded", sv.is_overloaded()),
        ("object", sv.is_object()),
        ("code", sv.is_code()),
        ("array", sv.is_array_ref()),
        ("hash", sv.is_hash_ref()),
    ]
    .into_iter()
    .filter_map(|(word, yes)| yes.then_some(word))
    .collect();
    frame.ret_bytes(words.join(" ").as_bytes());
    Ok(())
}

/// Three strings, read one after the other: reading one may destroy the others' variables.
fn three(frame: &mut Frame<'_>) -> Result<(), Croak> {
    for index in 0..3 {
        let value = frame.bytes(index)?;
        frame.ret(Sv::bytes_or_undef(frame.perl(), value.as_deref()));
    }
    Ok(())
}

/// All arguments, as they are.
fn echo(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let values: Vec<Sv> = (0..frame.len())
        .filter_map(|index| frame.arg(index).cloned())
        .collect();
    frame.ret_list(values);
    Ok(())
}

fn count(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.ret_int(frame.len() as i64);
    Ok(())
}

/// A new value of the kind named first, from the second argument.
fn make(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let kind = frame.bytes(0)?.unwrap_or_default();
    let value = match kind.as_slice() {
        b"undef" => Sv::undef(perl),
        b"bytes" => Sv::bytes(perl, &frame.bytes(1)?.unwrap_or_default()),
        b"shared" => Sv::shared(perl, &frame.bytes(1)?.unwrap_or_default()),
        b"int" => Sv::int(perl, frame.int(1)?.unwrap_or_default()),
        b"uint" => match frame.number(1)? {
            Some(Number::UInt(value)) => Sv::uint(perl, value),
            other => return Err(Croak::from(format!("not above i64: {other:?}"))),
        },
        b"float" => Sv::float(perl, frame.float(1)?.unwrap_or_default()),
        _ => return Err(Croak::from("unknown kind")),
    };
    frame.ret(value);
    Ok(())
}

/// A structure with a bit of everything.
fn nested(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let mut rows = Av::with_capacity(perl, 3);
    for index in 0..3 {
        let mut row = Hv::new(perl);
        row.store_int(perl, "index", index);
        row.store_bytes(perl, b"na\0me", format!("row {index}").as_bytes());
        rows.push(perl, row.into_ref(perl));
    }
    let mut top = Hv::new(perl);
    let rows = rows.into_ref(perl);
    top.store(perl, "rows", rows);
    top.store(perl, "nothing", Sv::undef(perl));
    top.store_int(perl, "twice", 1);
    top.store_int(perl, "twice", 2);
    let reference = top.into_ref(perl);
    reference.bless(perl, &Sv::bytes(perl, b"PerlXsTest::Nested"))?;
    frame.ret(reference);
    Ok(())
}

/// The elements of an array reference.
fn list(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let array = frame
        .value(0)?
        .as_ref()
        .and_then(ArrayRef::new)
        .ok_or("expected arrayref")?;
    let values = array.to_vec(perl)?;
    frame.ret_list(values);
    Ok(())
}

/// Keys and values of a hash reference.
fn pairs(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let hash = frame
        .value(0)?
        .as_ref()
        .and_then(HashRef::new)
        .ok_or("expected hashref")?;
    for (key, value) in hash.pairs(perl)? {
        frame.ret_bytes(&key);
        frame.ret(value);
    }
    Ok(())
}

/// The value under a key of a hash reference, or nothing.
fn hash_get(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let key = frame.bytes(1)?.unwrap_or_default();
    let hash = frame
        .value(0)?
        .as_ref()
        .and_then(HashRef::new)
        .ok_or("expected hashref")?;
    if let Some(value) = hash.get(perl, key)? {
        frame.ret(value);
    }
    Ok(())
}

fn is_a(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let class = frame.bytes(1)?.unwrap_or_default();
    let yes = match frame.arg(0) {
        Some(sv) => sv.is_derived_from(frame.perl(), &String::from_utf8_lossy(&class))?,
        None => false,
    };
    frame.ret_int(i64::from(yes));
    Ok(())
}

fn context(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.ret_bytes(if frame.wants_list() {
        b"list"
    } else {
        b"other"
    });
    Ok(())
}

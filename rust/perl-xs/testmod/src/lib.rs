//! `PerlXsTest`: one XSUB for each thing that t/perl-xs/*.t looks at.

mod calls;
mod fast;
mod objects;
mod values;

use perl_xs::{register, Croak, Frame, Perl, XsubDef};

static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "PerlXsTest::destroy_everything_at_exit",
        body: destroy_everything_at_exit,
    },
    XsubDef {
        name: "PerlXsTest::croak",
        body: croak,
    },
    XsubDef {
        name: "PerlXsTest::panic",
        body: panic,
    },
    XsubDef {
        name: "PerlXsTest::sv_count",
        body: sv_count,
    },
];

/// Dies with its argument, a text or any other value.
fn croak(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let value = frame
        .value(0)?
        .unwrap_or_else(|| perl_xs::Sv::undef(frame.perl()));
    if value.is_ref() {
        return Err(Croak::Value(value));
    }
    Err(Croak::new(
        value.to_bytes(frame.perl())?.unwrap_or_default(),
    ))
}

fn panic(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let text = frame.bytes(0)?.unwrap_or_default();
    frame.ret_int(1);
    panic!("{}", String::from_utf8_lossy(&text));
}

fn sv_count(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.ret_int(frame.perl().sv_count() as i64);
    Ok(())
}

fn destroy_everything_at_exit(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame.perl().destroy_everything_at_exit();
    Ok(())
}

fn init(perl: Perl) -> Result<(), Croak> {
    perl.check_version("PerlXsTest", "1.5")?;
    if perl
        .package_scalar("PerlXsTest::FAIL_TO_BOOT")
        .is_some_and(|sv| sv.is_defined())
    {
        return Err(Croak::from("asked not to boot"));
    }
    register(perl, XSUBS);
    register(perl, values::XSUBS);
    register(perl, calls::XSUBS);
    register(perl, objects::XSUBS);
    objects::init(perl);
    fast::init(perl);
    Ok(())
}

perl_xs::boot!(boot_PerlXsTest, init);

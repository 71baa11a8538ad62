//! A delivery callback, with what the program wants it to be called with.

use perl_xs::{ArrayRef, Av, Callee, Croak, FastArgs, Frame, Perl, Slots, Sv, With};

/// The code, and what it is called with behind result and error.
#[derive(Clone, Debug)]
pub struct Callback {
    code: Sv,
    with: Option<With>,
}

impl Callback {
    /// That of a call of `produce`; its arguments can be taken once.
    #[inline]
    pub fn from_fast(args: &FastArgs<'_>) -> Option<Callback> {
        let code = args.callback()?;
        let with = args.with();
        Some(Callback { code, with })
    }

    /// As Perl code of ours has it: the code, or an array of the code and its arguments.
    pub fn from_perl(frame: &Frame<'_>, index: usize) -> Result<Option<Callback>, Croak> {
        let perl = frame.perl();
        let Some(given) = frame.value(index)? else {
            return Ok(None);
        };
        let Some(array) = ArrayRef::new(&given) else {
            return Ok(given.code().map(|code| Callback { code, with: None }));
        };
        let mut values = array.to_vec(perl)?.into_iter();
        let code = values.next().and_then(|code| code.code());
        let code = code.ok_or("expected a callback")?;
        let with = match values.len() {
            0 | 1 => values.next().map(With::Value),
            several => {
                let mut list = Av::with_capacity(perl, several);
                values.for_each(|value| list.push(perl, value));
                Some(With::Value(list.into_value()))
            }
        };
        Ok(Some(Callback { code, with }))
    }

    /// The same the other way.
    pub fn into_perl(self, perl: Perl) -> Result<Sv, Croak> {
        let code = Sv::new_ref(perl, &self.code);
        let Some(with) = self.with else {
            return Ok(code);
        };
        let mut list = Av::new(perl);
        list.push(perl, code);
        match with {
            With::Int(int) => list.push(perl, Sv::int(perl, int)),
            With::Ref(referent) => list.push(perl, Sv::new_ref(perl, &referent)),
            With::Value(value) => match ArrayRef::of_value(&value) {
                Some(several) => several
                    .to_vec(perl)?
                    .into_iter()
                    .for_each(|value| list.push(perl, value)),
                None => list.push(perl, value),
            },
        }
        Ok(list.into_ref(perl))
    }

    /// The call that it is for, behind result and error. Code that nobody else holds goes to the others of its kind: freeing
    /// it can wait for them.
    #[inline]
    pub fn into_call<'a>(self, slots: &mut Slots<'a>, last: &'a mut Vec<Sv>) -> Callee<'a> {
        if let Some(with) = self.with {
            slots.with(with);
        }
        if self.code.refcount() > 1 {
            return Callee::Release(self.code);
        }
        let place = last.len();
        last.push(self.code);
        Callee::Keep(&last[place])
    }
}

//! What has gone wrong, as programs are told of it: by a text, or by an `EV::Kafka::Error`.

use kafka_wire::error;
use perl_xs::{Croak, Frame, HashRef, Hv, Perl, Sv};

const CLASS: &str = "EV::Kafka::Error";

/// An error, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// What a program sees that has not asked for more.
    pub text: String,
    /// Kafka's code, if a broker has given one.
    pub code: Option<i16>,
    /// Whether another try may succeed.
    pub is_retriable: bool,
    /// Whether what has met with it is at its end.
    pub is_fatal: bool,
    /// The broker's id, or where it is.
    pub broker: Option<String>,
    /// What was asked of it.
    pub operation: Option<String>,
    /// Of a topic.
    pub topic: Option<Vec<u8>>,
    /// Of a partition of it.
    pub partition: Option<i32>,
}

impl Problem {
    /// What a broker has answered.
    pub fn of_code(code: i16, text: String) -> Problem {
        Problem {
            text,
            code: Some(code),
            is_retriable: error::is_retriable(code),
            ..Problem::default()
        }
    }

    /// What no broker has said.
    pub fn without_code(text: String, is_retriable: bool) -> Problem {
        Problem {
            text,
            is_retriable,
            ..Problem::default()
        }
    }

    /// What Perl code gives: an `EV::Kafka::Error`, or a text. May run Perl code.
    ///
    /// # Errors
    /// What the Perl code has died of.
    pub fn of_argument(frame: &Frame<'_>, index: usize) -> Result<Problem, Croak> {
        let perl = frame.perl();
        let Some(value) = frame.value(index)? else {
            return Ok(Problem::default());
        };
        let text = value.to_bytes(perl)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let Some(fields) = HashRef::new(&value) else {
            return Ok(Problem::without_code(text, false));
        };
        let flag = |name| Ok::<_, Croak>(fields.get_i64(perl, name)?.unwrap_or(0) != 0);
        let string = |name| {
            let bytes = fields.get_bytes(perl, name)?;
            Ok::<_, Croak>(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Problem {
            text,
            code: fields.get_i64(perl, "code")?.map(|code| code as i16),
            is_retriable: flag("retriable")?,
            is_fatal: flag("fatal")?,
            broker: string("broker")?,
            operation: string("operation")?,
            topic: fields.get_bytes(perl, "topic")?,
            partition: fields.get_i64(perl, "partition")?.map(|index| index as i32),
        })
    }

    /// The object.
    pub fn object(&self, perl: Perl) -> Sv {
        let mut fields = Hv::new(perl);
        fields.store_bytes(perl, "text", self.text.as_bytes());
        fields.store_bytes(perl, "name", self.code.map_or("", error::name).as_bytes());
        fields.store_int(perl, "retriable", self.is_retriable.into());
        if let Some(code) = self.code {
            fields.store_int(perl, "code", code.into());
        }
        if self.is_fatal {
            fields.store_int(perl, "fatal", 1);
        }
        if let Some(topic) = &self.topic {
            fields.store_bytes(perl, "topic", topic);
        }
        if let Some(partition) = self.partition {
            fields.store_int(perl, "partition", partition.into());
        }
        let named = [("broker", &self.broker), ("operation", &self.operation)];
        for (name, value) in named {
            if let Some(value) = value {
                fields.store_bytes(perl, name, value.as_bytes());
            }
        }
        let object = fields.into_ref(perl);
        // A hash that nobody else knows can be blessed.
        let _ = object.bless(perl, &Sv::bytes(perl, CLASS.as_bytes()));
        object
    }
}

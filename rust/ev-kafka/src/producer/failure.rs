//! How a request's batches end, and what Perl code is told of those that no broker has taken.

use std::collections::hash_map::RandomState;
use std::collections::BTreeSet;
use std::hash::BuildHasher;

use bytes::Bytes;
use kafka_producer::verdict::{Cause, Harm, Hearer};
use kafka_producer::{BatchId, Fate, Place, Sealed};
use perl_xs::{Av, Hv, Perl, Sv};

use super::callback::Callback;
use super::delivery::{End, Settled};
use super::{settled, unheard, Producer, OPERATION};
use crate::problem::Problem;

/// How a batch of a request has ended.
pub(super) enum Ending {
    /// A broker has it as far as anybody can know.
    Taken(End),
    /// It has not, for this reason and in these words, and on account of these of its records, where the broker says that.
    Failed(Cause, String, Vec<(usize, String)>),
}

/// What Perl code has to do about batches that no broker has taken.
#[derive(Default)]
pub(super) struct News {
    /// Each of them: where it belongs, the error code, and how many records it has.
    failed: Vec<(Place, i16, usize)>,
    /// The connection has ended, and somebody needed it.
    is_lost: bool,
    /// Topics that may have other leaders by now.
    refresh: BTreeSet<Bytes>,
    /// What nobody else hears of.
    reports: Vec<Problem>,
    /// The worst that the open transaction has met with.
    harm: Option<(Harm, Problem)>,
}

impl Producer {
    /// Settles batches in flight at a broker; their callbacks wait, in the order of their endings.
    pub(super) fn settle(&self, node: i32, endings: Vec<(BatchId, Ending)>) -> News {
        let mut news = News::default();
        for (id, ending) in endings {
            match ending {
                Ending::Taken(end) => self.delivery.queue(self.acknowledge(id, end)),
                Ending::Failed(cause, message, records) => {
                    let failed = self.failed(node, id, (cause, &message, &records), &mut news);
                    self.delivery.queue(failed);
                }
            }
        }
        news
    }

    fn acknowledge(&self, id: BatchId, end: End) -> Option<Settled> {
        let mut accumulator = self.accumulator.borrow_mut();
        let (place, batch) = accumulator.acknowledge(id)?;
        Some(settled(&accumulator, place, batch, end))
    }

    fn failed(
        &self,
        node: i32,
        id: BatchId,
        (cause, message, refused): (Cause, &str, &[(usize, String)]),
        news: &mut News,
    ) -> Vec<Settled> {
        let mut accumulator = self.accumulator.borrow_mut();
        let records = accumulator.records_in_flight(id);
        let Some((place, fate)) = accumulator.failed(id, cause, message, random()) else {
            return Vec::new();
        };
        if matches!(fate, Fate::Requeued) {
            return Vec::new();
        }
        news.is_lost |= matches!(cause, Cause::NeverLeft | Cause::Unanswered);
        let code = cause.code().unwrap_or(-1);
        news.failed.push((place.clone(), code, records));
        match fate {
            Fate::Requeued => Vec::new(),
            Fate::Waits { refresh } => {
                if refresh {
                    let topic = accumulator.topic_name(place.topic);
                    news.refresh.insert(topic.clone());
                }
                Vec::new()
            }
            Fate::Failed {
                batch,
                code,
                text,
                hearer,
            } => {
                let problem = Problem {
                    is_fatal: hearer == Hearer::Transaction(Harm::Fatal),
                    broker: Some(node.to_string()),
                    operation: Some(OPERATION.to_owned()),
                    topic: Some(accumulator.topic_name(place.topic).to_vec()),
                    partition: Some(place.partition as i32),
                    ..match code {
                        Some(code) => Problem::of_code(code, text),
                        None => Problem::without_code(text, cause != Cause::Unsendable),
                    }
                };
                let of_batch = match refused.first() {
                    Some((index, why)) => of_record(&problem, *index, why),
                    None => problem.clone(),
                };
                news.note(&batch, &of_batch, hearer);
                let end = match code {
                    Some(error_code) => End::Refused {
                        error_code,
                        problem,
                    },
                    None => End::Failed(problem),
                };
                by_record(settled(&accumulator, place, *batch, end), refused)
            }
        }
    }
}

/// A batch of which some records were refused, in pieces: each of these records, and its mates between them.
fn by_record(batch: Settled, refused: &[(usize, String)]) -> Vec<Settled> {
    let End::Refused {
        error_code,
        problem,
    } = batch.end
    else {
        return vec![batch];
    };
    let piece = |callbacks: Vec<Option<Callback>>, problem: Problem| Settled {
        place: batch.place.clone(),
        topic: batch.topic.clone(),
        generation: batch.generation,
        callbacks: callbacks.into_iter(),
        end: End::Refused {
            error_code,
            problem,
        },
    };
    let mut left = batch.callbacks;
    if refused.is_empty() {
        return vec![piece(left.collect(), problem)];
    }
    let mates = Problem {
        text: format!("{}{NOT_WRITTEN}", problem.text),
        ..problem.clone()
    };
    let (mut pieces, mut at) = (Vec::new(), 0);
    for (index, why) in refused {
        pieces.push(piece(
            left.by_ref().take(index - at).collect(),
            mates.clone(),
        ));
        pieces.push(piece(
            left.by_ref().take(1).collect(),
            of_record(&problem, *index, why),
        ));
        at = index + 1;
    }
    pieces.push(piece(left.collect(), mates));
    pieces
}

/// What is said of a record that was not refused itself.
const NOT_WRITTEN: &str = ": not written, another record of its batch was refused";

fn of_record(problem: &Problem, index: usize, why: &str) -> Problem {
    let why = match why {
        "" => String::new(),
        why => format!(": {why}"),
    };
    Problem {
        text: format!(
            "{}: record {index} of its batch was refused{why}",
            problem.text
        ),
        ..problem.clone()
    }
}

impl News {
    fn note(&mut self, batch: &Sealed<Callback>, problem: &Problem, hearer: Hearer) {
        match hearer {
            Hearer::Nobody => {}
            Hearer::Handler if unheard(batch) == 0 => {}
            Hearer::Handler => self.reports.push(problem.clone()),
            Hearer::Transaction(harm) => self.harm = Some(self.worse(harm, problem)),
        }
    }

    /// The error is that of the first batch, unless another one ends the producer.
    fn worse(&mut self, harm: Harm, problem: &Problem) -> (Harm, Problem) {
        match self.harm.take() {
            Some((before, first)) if before == Harm::Fatal || harm != Harm::Fatal => {
                (before.max(harm), first)
            }
            _ => (harm, problem.clone()),
        }
    }

    /// As `answered` takes it; nothing when there is none.
    pub fn into_perl(self, perl: Perl, producer: &Producer) -> Option<Sv> {
        if self.failed.is_empty() {
            return None;
        }
        let mut news = Hv::new(perl);
        let accumulator = producer.accumulator.borrow();
        let mut failed = Av::with_capacity(perl, self.failed.len());
        for (place, code, records) in self.failed {
            let mut row = Hv::new(perl);
            row.store_bytes(perl, "topic", accumulator.topic_name(place.topic));
            row.store_int(perl, "partition", place.partition as i64);
            row.store_int(perl, "error_code", code.into());
            row.store_int(perl, "records", records as i64);
            failed.push(perl, row.into_ref(perl));
        }
        news.store(perl, "failed", failed.into_ref(perl));
        news.store_int(perl, "is_lost", self.is_lost.into());
        let refresh = self.refresh.iter().map(|topic| Sv::bytes(perl, topic));
        let reports = self.reports.iter().map(|problem| problem.object(perl));
        news.store(perl, "refresh", list(perl, refresh));
        news.store(perl, "reports", list(perl, reports));
        if let Some(delay) = accumulator.next_try() {
            let seconds = Sv::float(perl, delay.as_secs_f64());
            news.store(perl, "retry_after", seconds);
        }
        if let Some((harm, problem)) = self.harm {
            news.store_bytes(perl, "harm", name(harm).as_bytes());
            news.store(perl, "harm_error", problem.object(perl));
        }
        Some(news.into_ref(perl))
    }
}

/// What Perl code calls it.
pub(super) fn name(harm: Harm) -> &'static str {
    match harm {
        Harm::Abort => "abort",
        Harm::NewEpoch => "new epoch",
        Harm::Fatal => "fatal",
    }
}

fn list(perl: Perl, values: impl ExactSizeIterator<Item = Sv>) -> Sv {
    let mut list = Av::with_capacity(perl, values.len());
    values.for_each(|value| list.push(perl, value));
    list.into_ref(perl)
}

/// Uniform in [0, 1): each state hashes with keys of its own.
fn random() -> f64 {
    (RandomState::new().hash_one(0) >> 11) as f64 / (1u64 << 53) as f64
}

//! Faults on demand, quotas, and brokers that speak other versions or have other features.

use kafka_mock::{Fault, Quota};
use kafka_wire::ApiKey;
use perl_xs::{Av, Croak, Frame, HashRef, Hv, Perl, Sv, XsubDef};

use super::server::Server;
use super::values::{api_named, croak, hash, int32, optional32, text};

pub(super) static XSUBS: &[XsubDef] = &[
    XsubDef {
        name: "EV::Kafka::Mock::_fault",
        body: fault,
    },
    XsubDef {
        name: "EV::Kafka::Mock::api_versions",
        body: api_versions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_versions",
        body: versions,
    },
    XsubDef {
        name: "EV::Kafka::Mock::feature",
        body: feature,
    },
    XsubDef {
        name: "EV::Kafka::Mock::clear_faults",
        body: clear_faults,
    },
    XsubDef {
        name: "EV::Kafka::Mock::_quota",
        body: quota,
    },
];

/// `_fault(\%rule)`, with every key there.
fn fault(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let rule = fault_from(perl, &hash(frame, 1)?)?;
    frame
        .object::<Server>()?
        .change(|cluster| cluster.fault(rule));
    Ok(())
}

fn fault_from(perl: Perl, rule: &HashRef) -> Result<Fault, Croak> {
    let number = |name: &str| rule.get_i64(perl, name);
    let flag = |name: &str| match rule.get(perl, name)? {
        Some(value) => value.to_bool(perl),
        None => Ok(false),
    };
    let small = |name: &str| {
        let fits = |value| i32::try_from(value).map_err(|_| out_of_range(name, value));
        number(name)?.map(fits).transpose()
    };
    let api = api_of(perl, rule)?;
    let error = match small("error")? {
        Some(code) => {
            let fits = i16::try_from(code).map_err(|_| out_of_range("error", code.into()))?;
            (fits != 0).then_some(fits)
        }
        None => None,
    };
    let times = match number("times")? {
        Some(times) => Some(
            u32::try_from(times)
                .ok()
                .filter(|&times| times > 0)
                .ok_or_else(|| out_of_range("times", times))?,
        ),
        None => None,
    };
    let delay = number("delay_ms")?.unwrap_or(0);
    Ok(Fault {
        broker: small("broker")?,
        api,
        topic: rule.get_bytes(perl, "topic")?.map(Into::into),
        partition: small("partition")?,
        times,
        error,
        delay_ms: u64::try_from(delay).map_err(|_| out_of_range("delay_ms", delay))?,
        throttle_time_ms: small("throttle_time_ms")?.unwrap_or(0),
        drop: flag("drop")?,
        hang: flag("hang")?,
        truncate: flag("truncate")?,
        applied: flag("applied")?,
    })
}

fn api_of(perl: Perl, rule: &HashRef) -> Result<Option<ApiKey>, Croak> {
    let name = rule.get_bytes(perl, "api")?;
    name.map(|name| api_named(&String::from_utf8_lossy(&name)))
        .transpose()
}

/// `_quota(\%quota)`, with every key there.
fn quota(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let given = hash(frame, 1)?;
    let throttle_time_ms = given.get_i64(perl, "throttle_time_ms")?.unwrap_or(0);
    let quota = Quota {
        client_id: given.get_bytes(perl, "client_id")?.map(Into::into),
        api: api_of(perl, &given)?,
        throttle_time_ms: i32::try_from(throttle_time_ms)
            .ok()
            .filter(|&ms| ms >= 0)
            .ok_or_else(|| format!("quota: throttle_time_ms cannot be {throttle_time_ms}"))?,
    };
    let server = frame.object::<Server>()?;
    server.change(|cluster| cluster.set_quota(quota));
    Ok(())
}

fn out_of_range(name: &str, value: i64) -> Croak {
    format!("fault: {name} cannot be {value}").into()
}

/// `clear_faults()`
fn clear_faults(frame: &mut Frame<'_>) -> Result<(), Croak> {
    frame
        .object::<Server>()?
        .change(|cluster| cluster.clear_faults());
    Ok(())
}

/// `api_versions($api, $min, $max, [$node_id])`; an undef `$min` takes the API away.
fn api_versions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let api = api_named(&text(frame, 1)?)?;
    let versions = match frame.int(2)? {
        None => None,
        Some(_) => Some(version(frame, 2)?..=version(frame, 3)?),
    };
    let only = optional32(frame, 4)?;
    let server = frame.object::<Server>()?;
    let changed = server.change(|cluster| {
        let brokers: Vec<i32> = match only {
            Some(broker) => vec![broker],
            None => cluster.broker_ids().collect(),
        };
        brokers
            .into_iter()
            .try_for_each(|broker| cluster.set_api_versions(broker, api.key(), versions.clone()))
    });
    changed.map_err(croak)
}

/// `feature($name, [$level])`: the level that there is, or was before.
fn feature(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let name = text(frame, 1)?;
    let level = match frame.int(2)? {
        None => None,
        Some(level) => Some(
            i16::try_from(level)
                .ok()
                .filter(|&level| level >= 0)
                .ok_or_else(|| format!("feature: no level {level}"))?,
        ),
    };
    let server = frame.object::<Server>()?;
    let before = server.look(|cluster| cluster.feature(name.as_bytes()));
    if let Some(level) = level {
        server.change(|cluster| cluster.set_feature(name.as_bytes(), level));
    }
    frame.ret_int(before.into());
    Ok(())
}

/// `_versions($node_id)`: `{ api => [min, max] }`
fn versions(frame: &mut Frame<'_>) -> Result<(), Croak> {
    let perl = frame.perl();
    let broker = int32(frame, 1)?;
    let server = frame.object::<Server>()?;
    let table: Vec<_> = server.look(|cluster| cluster.api_versions(broker).collect());
    let mut hash = Hv::new(perl);
    for (key, (min, max)) in table {
        let Some(api) = ApiKey::from_key(key) else {
            continue;
        };
        let mut range = Av::with_capacity(perl, 2);
        for version in [min, max] {
            range.push(perl, Sv::int(perl, version.into()));
        }
        hash.store(perl, api.name(), range.into_ref(perl));
    }
    frame.ret(hash.into_ref(perl));
    Ok(())
}

fn version(frame: &Frame<'_>, index: usize) -> Result<i16, Croak> {
    let value = int32(frame, index)?;
    i16::try_from(value).map_err(|_| format!("api_versions: no version {value}").into())
}

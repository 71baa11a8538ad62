//! The cluster as clients see it: each API and its errors, waiting, order, faults, hostile bytes.

mod api_versions;
mod brokers;
mod consumer_groups;
mod epochs;
mod faults;
mod fetch;
mod find_coordinator;
mod group_offsets;
mod group_property;
mod groups;
mod hostile;
mod idempotence;
mod list_offsets;
mod members;
mod metadata;
mod produce;
mod support;
mod topics;
mod transactions;
mod txn_faults;
mod txn_reading;
mod waiting;

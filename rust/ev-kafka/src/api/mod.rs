//! The APIs of Kafka as methods of EV::Kafka::Conn. Each has a file with its request and with what
//! the callback gets for the answer.
//!
//! * [`request`] sends a request on behalf of a method.
//! * [`result`] makes of an answer what a callback gets; [`shapes`] are parts of several of them.
//! * [`plain`] is for what is rare: one way for all such APIs.
//! * [`rows`] are for what the client asks about many partitions at once.

mod add_offsets_to_txn;
mod add_partitions_to_txn;
mod consumer_group_heartbeat;
mod create_topics;
mod delete_topics;
mod end_txn;
pub mod fetch;
mod find_coordinator;
mod heartbeat;
mod init_producer_id;
mod join_group;
mod leave_group;
mod list_offsets;
mod metadata;
mod metadata_answer;
mod offset_commit;
mod offset_fetch;
mod offset_for_leader_epoch;
mod plain;
pub mod produce;
pub mod request;
pub mod result;
mod rows;
pub mod shapes;
mod share_group_heartbeat;
mod sync_group;
pub mod transaction_version;
mod txn_offset_commit;

use perl_xs::Perl;

/// Makes the methods known to Perl.
pub fn register(perl: Perl) {
    for xsubs in [
        add_offsets_to_txn::XSUBS,
        add_partitions_to_txn::XSUBS,
        consumer_group_heartbeat::XSUBS,
        create_topics::XSUBS,
        delete_topics::XSUBS,
        end_txn::XSUBS,
        fetch::XSUBS,
        find_coordinator::XSUBS,
        heartbeat::XSUBS,
        init_producer_id::XSUBS,
        join_group::XSUBS,
        leave_group::XSUBS,
        list_offsets::XSUBS,
        metadata::XSUBS,
        metadata_answer::XSUBS,
        offset_commit::XSUBS,
        offset_fetch::XSUBS,
        offset_for_leader_epoch::XSUBS,
        plain::XSUBS,
        produce::XSUBS,
        share_group_heartbeat::XSUBS,
        sync_group::XSUBS,
        txn_offset_commit::XSUBS,
    ] {
        perl_xs::register(perl, xsubs);
    }
    metadata_answer::register_clone_skip(perl);
}

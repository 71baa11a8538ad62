use v5.14;
use warnings;

# EV::Kafka::Mock and a real broker, asked the same: what is checked of producers, transactions and groups, step by
# step, must be answered alike.

use EV;
use lib 'xt/lib';
use EV::Kafka::Mock;
use IO::Socket::INET;
use RealKafka;
use Test::More;

# What a real broker says until it has found its coordinators, or written its markers: also, by 6, when the leader of a
# partition has not reached the coordinator yet that it asks about a transaction.
my %TRANSIENT = map { $_ => 1 } 6, 14, 15, 16, 51;

# Stands for the callback among a method's arguments.
my $CB = \'the callback';

# --- asking -------------------------------------------------------------------------------------

# One side: a connection to its only broker, a topic of two partitions, and what it has answered.
sub side {
    my ($address, $topic) = @_;
    my $side = { address => $address, conn => connected_conn($address), topic => $topic, trace => [] };
    # A cluster has no coordinators before somebody looks for one.
    ask_patiently($side, find_coordinator => $topic, $CB, $_) for 0, 1;
    # One that is loading answers some requests as if all were well; this is none of them.
    ask_patiently($side, offset_fetch => $topic, [{ topic => $topic, partitions => [0] }], $CB);
    return $side;
}

sub note_down {
    my ($side, @what) = @_;
    push @{ $side->{trace} }, join ' ', map { $_ // 'undef' } @what;
    return;
}

sub ask {
    my ($side, $method, @arguments) = @_;
    my ($result, $error) = await($method, sub {
        my ($done) = @_;
        $side->{conn}->$method(map { ref $_ && $_ == $CB ? $done : $_ } @arguments);
    });
    die "$method: $error\n" if defined $error;
    return $result;
}

# A group or a transactional id that nobody else uses, on a broker that many tests share.
sub own {
    my ($side, $name) = @_;
    return "$side->{topic}.$name";
}

sub ask_patiently {
    my (@call) = @_;
    return ask_while(\%TRANSIENT, sub { ask(@call) });
}

# Asks, and notes down the error codes.
sub told {
    my ($side, $what, @call) = @_;
    my $result = ask_patiently($side, @call);
    # Partitions come in whatever order.
    note_down($side, "$what:", sort { $a <=> $b } error_codes($result));
    return $result;
}

# --- producers ----------------------------------------------------------------------------------

sub write_batch {
    my ($side, $by, $sequence, $count, %also) = @_;
    my @records = map { { value => "v$_" } } 1 .. $count;
    my %options = (%$by, base_sequence => $sequence, %also);
    my $result  = ask_patiently($side, produce_batch => $side->{topic}, 0, \@records, \%options, $CB);
    my $partition = $result->{topics}[0]{partitions}[0];
    note_down($side, "epoch $by->{producer_epoch} sequence $sequence x $count:",
        @$partition{qw(error_code base_offset)});
    return;
}

sub idempotence {
    my ($side) = @_;
    my $init = ask_patiently($side, init_producer_id => undef, 60_000, $CB);
    my %by   = (producer_id => $init->{producer_id}, producer_epoch => $init->{producer_epoch});
    # Sequence and count: in order, repeated, repeated in another cut, a gap.
    write_batch($side, \%by, @$_) for [0, 2], [2, 1], [0, 2], [2, 1], [0, 1], [1, 2], [5, 1], [3, 1];
    # What is older than five batches is not remembered.
    write_batch($side, \%by, $_, 1) for 4 .. 8, 0, 3, 4;
    write_batch($side, { %by, producer_epoch => 1 }, $_, 1) for 9, 0, 0, 1;
    write_batch($side, \%by, $_, 1) for 9, 8;
    # A producer that the partition has never heard of.
    my $other = ask_patiently($side, init_producer_id => undef, 60_000, $CB)->{producer_id};
    write_batch($side, { producer_id => $other, producer_epoch => 0 }, $_, 1) for 17, 18, 0;
    # The largest sequence and what follows.
    my $large = ask_patiently($side, init_producer_id => undef, 60_000, $CB)->{producer_id};
    write_batch($side, { producer_id => $large, producer_epoch => 0 }, @$_) for [2**31 - 2, 3], [2**31 - 2, 3], [1, 1];
    return;
}

# --- transactions -------------------------------------------------------------------------------

sub identity {
    my ($side, $id, @before) = @_;
    my $init = ask_patiently($side, init_producer_id => $id, 60_000, $CB, @before);
    my $first = $side->{first_id}{$id} //= $init->{producer_id};
    my $same  = $init->{producer_id} == $first ? 'same id' : 'other id';
    note_down($side, 'identity:', $init->{error_code}, $init->{error_code} ? '' : $same, $init->{producer_epoch});
    return { producer_id => $init->{producer_id}, producer_epoch => $init->{producer_epoch}, transactional_id => $id };
}

# The first three arguments of what goes to the coordinator.
sub by { @{ $_[0] }{qw(transactional_id producer_id producer_epoch)} }

sub partitions { my ($side, @partitions) = @_; [{ topic => $side->{topic}, partitions => [@partitions] }] }

sub visible {
    my ($side) = @_;
    for my $level (0, 1) {
        my $fetched   = ask($side, fetch => $side->{topic}, 0, 0, { isolation_level => $level, max_wait_ms => 1 }, $CB);
        my $partition = $fetched->{topics}[0]{partitions}[0];
        note_down($side, "fetch at level $level:", @$partition{qw(error_code high_watermark last_stable_offset)});
    }
    return;
}

sub transactions {
    my ($side) = @_;
    my $by = identity($side, own($side, 'tx'));
    told($side, 'commit without begin', end_txn => by($by), 1, $CB);
    write_batch($side, $by, 0, 1);
    told($side, 'unknown partition', add_partitions_to_txn => by($by), partitions($side, 0, 7), $CB);
    told($side, 'add', add_partitions_to_txn => by($by), partitions($side, 0), $CB);
    write_batch($side, $by, 0, 2);
    write_batch($side, $by, 0, 2);
    write_batch($side, $by, 3, 1);
    visible($side);
    my %plain = map { $_ => $by->{$_} } qw(producer_id producer_epoch);
    write_batch($side, \%plain, 2, 1);
    told($side, 'commit',       end_txn => by($by), 1, $CB);
    told($side, 'commit again', end_txn => by($by), 1, $CB);
    told($side, 'abort now',    end_txn => by($by), 0, $CB);
    visible($side);
    write_batch($side, $by, 2, 1);
    told($side, 'add', add_partitions_to_txn => by($by), partitions($side, 0), $CB);
    write_batch($side, $by, 2, 1);
    told($side, 'abort',       end_txn => by($by), 0, $CB);
    told($side, 'abort again', end_txn => by($by), 0, $CB);
    visible($side);

    # The producer bumps its own epoch, twice with the same question.
    my $bumped = identity($side, own($side, 'tx'), @$by{qw(producer_id producer_epoch)});
    identity($side, own($side, 'tx'), @$by{qw(producer_id producer_epoch)});
    identity($side, own($side, 'tx'), 987_654, 0);
    told($side, 'old epoch', end_txn => by($by), 1, $CB);
    told($side, 'other id', end_txn => own($side, 'tx'), 987_654, 0, 1, $CB);
    told($side, 'no such transactional id', end_txn => own($side, 'never'), 1, 0, 1, $CB);
    told($side, 'no transactional id',      end_txn => '', 1, 0, 1, $CB);

    # Another instance, while a transaction is open.
    told($side, 'add', add_partitions_to_txn => by($bumped), partitions($side, 0), $CB);
    write_batch($side, $bumped, 0, 1);
    my $first = ask($side, init_producer_id => own($side, 'tx'), 60_000, $CB);
    note_down($side, 'the first question of another instance:', $first->{error_code});
    identity($side, own($side, 'tx'));
    write_batch($side, $bumped, 1, 1);
    told($side, 'fenced add',    add_partitions_to_txn => by($bumped), partitions($side, 0), $CB);
    told($side, 'fenced group',  add_offsets_to_txn => by($bumped), 'g', $CB);
    told($side, 'fenced commit', end_txn => by($bumped), 1, $CB);
    visible($side);
    for my $timeout (0, 900_001) {
        my $init = ask_patiently($side, init_producer_id => own($side, 'tx'), $timeout, $CB);
        note_down($side, "timeout $timeout:", $init->{error_code});
    }
    return;
}

sub offsets {
    my ($side, $offset) = @_;
    return [{ topic => $side->{topic}, partitions => [{ partition => 0, offset => $offset }] }];
}

sub stored {
    my ($side, $group, %options) = @_;
    my $asked = [{ topic => $side->{topic}, partitions => [0, 1] }];
    my $result = ask_patiently($side, offset_fetch => $group, $asked, \%options, $CB);
    note_down($side, 'stored:', error_codes($result), map { $_->{offset} } @{ $result->{topics}[0]{partitions} });
    return;
}

sub transactional_offsets {
    my ($side) = @_;
    my $by    = identity($side, own($side, 'offsets'));
    my @write = (txn_offset_commit => own($side, 'offsets'), own($side, 'g'), @$by{qw(producer_id producer_epoch)});
    told($side, 'not added', @write, undef, undef, offsets($side, 5), $CB);
    told($side, 'add', add_offsets_to_txn => by($by), own($side, 'g'), $CB);
    told($side, 'offsets', @write, undef, undef, offsets($side, 5), $CB);
    told($side, 'stranger', @write, 3, 'stranger', offsets($side, 5), $CB);
    stored($side, own($side, 'g'));
    stored($side, own($side, 'g'), require_stable => 1);
    told($side, 'commit', end_txn => by($by), 1, $CB);
    settled($side);
    stored($side, own($side, 'g'), require_stable => 1);
    told($side, 'add', add_offsets_to_txn => by($by), own($side, 'g'), $CB);
    told($side, 'offsets', @write, undef, undef, offsets($side, 9), $CB);
    told($side, 'abort', end_txn => by($by), 0, $CB);
    settled($side);
    stored($side, own($side, 'g'), require_stable => 1);
    return;
}

# A real broker writes the markers after its answer.
sub settled {
    my ($side) = @_;
    while (1) {
        my $asked  = [{ topic => $side->{topic}, partitions => [0] }];
        my $result = ask($side, offset_fetch => own($side, 'g'), $asked, { require_stable => 1 }, $CB);
        return unless grep { $_ == 88 } error_codes($result);
        my $timer;
        await('the markers', sub { my ($done) = @_; $timer = EV::timer 0.05, 0, $done });
    }
}

# --- groups of the classic protocol -------------------------------------------------------------

sub member {
    my ($side, %fields) = @_;
    return { side => { %$side, conn => connected_conn($side->{address}) }, id => '', generation => -1, %fields };
}

# Sends JoinGroup and calls back with the result.
sub send_join {
    my ($member, $cb) = @_;
    $member->{side}{conn}->join_group($member->{group}, $member->{id}, [$member->{side}{topic}], sub {
        my ($result, $error) = @_;
        die "join_group: $error\n" if defined $error;
        $member->{id} = $result->{member_id} if $result->{error_code} == 79 || !$result->{error_code};
        $member->{generation} = $result->{generation_id} unless $result->{error_code};
        $cb->($result);
    }, 10_000, 10_000, $member->{name});
    return;
}

sub note_join {
    my ($member, $what, $result) = @_;
    note_down($member->{side}, "$what:", $result->{error_code}, $result->{generation_id}, $result->{protocol_name},
        'members', scalar @{ $result->{members} || [] },
        ($result->{leader} // '') eq ($result->{member_id} // '') ? 'leads' : 'follows');
    return;
}

sub join_now {
    my ($member, $what) = @_;
    while (1) {
        my $result = await("$what joins", sub { send_join($member, @_) });
        next if $TRANSIENT{ $result->{error_code} };
        note_join($member, $what, $result);
        return $result unless $result->{error_code} == 79;
    }
}

sub sync {
    my ($member, $what, @assignments) = @_;
    my @list   = map { { member_id => $_->{id}, assignment => "for member" } } @assignments;
    my $result = ask($member->{side}, sync_group => $member->{group}, @$member{qw(generation id)}, \@list, $CB,
        $member->{name});
    note_down($member->{side}, "$what:", @$result{qw(error_code assignment)});
    return;
}

sub beat {
    my ($member, $what) = @_;
    return told($member->{side}, $what, heartbeat => $member->{group}, @$member{qw(generation id)}, $CB,
        $member->{name});
}

sub classic_groups {
    my ($side) = @_;
    my $one = member($side, group => own($side, 'classic'));
    beat($one, 'before it joins');
    told($side, 'a stranger stores', offset_commit => own($side, 'never joined'), 3, 'm', offsets($side, 1), $CB);
    told($side, 'nobody stores', offset_commit => own($side, 'classic'), -1, '', offsets($side, 1), $CB);
    my $stranger = member($side, group => own($side, 'classic'), id => 'stranger');
    my $refused  = await('a stranger joins', sub { send_join($stranger, @_) });
    note_down($side, 'a stranger joins:', $refused->{error_code});
    join_now($one, 'the first');
    sync($one, 'the first assigns', $one);
    beat($one, 'stable');
    beat({ %$one, generation => $one->{generation} + 1 }, 'another generation');
    beat({ %$one, id => 'stranger' }, 'another id');
    my @commit = (offset_commit => own($side, 'classic'), @$one{qw(generation id)}, offsets($side, 5), $CB);
    told($one->{side}, 'a member stores', @commit);
    told($one->{side}, 'in another generation', $commit[0], $commit[1], $one->{generation} + 1, @commit[3 .. 5]);
    told($one->{side}, 'as a stranger', @commit[0 .. 2], 'stranger', @commit[4, 5]);
    told($one->{side}, 'as nobody', $commit[0], $commit[1], -1, '', @commit[4, 5]);
    stored($side, own($side, 'classic'));

    my $two = member($side, group => own($side, 'classic'));
    my $id  = await('an id', sub { send_join($two, @_) });
    note_join($two, 'the second', $id);
    my ($joined, $waits) = (undef, sub { });
    send_join($two, sub { $joined = shift; $waits->() });
    # Comes back when the broker has the second member's request.
    for (1 .. 200) {
        my $beaten = ask($one->{side}, heartbeat => own($side, 'classic'), @$one{qw(generation id)}, $CB);
        last if $beaten->{error_code} == 27;
        my $timer;
        await('the rebalance', sub { my ($done) = @_; $timer = EV::timer 0.02, 0, $done });
    }
    beat($one, 'while the second waits');
    told($one->{side}, 'a member stores', @commit);
    sync($one, 'too late', $one);
    note_down($side, 'the second waits:', $joined ? 'no' : 'yes');
    join_now($one, 'the first again');
    await('the second joins', sub { my ($done) = @_; $joined ? $done->() : ($waits = $done) }) unless $joined;
    note_join($two, 'the second', $joined);
    beat($two, 'before it is assigned anything');
    told($two->{side}, 'stores while the leader assigns', offset_commit => own($side, 'classic'),
        @$two{qw(generation id)}, offsets($side, 6), $CB);
    sync($one, 'the first assigns', $one, $two);
    sync($two, 'the second is told');
    join_now($two, 'a follower joins again');
    told($two->{side}, 'leaves',       leave_group => own($side, 'classic'), $two->{id}, $CB);
    told($two->{side}, 'leaves again', leave_group => own($side, 'classic'), $two->{id}, $CB);
    beat($one, 'after the second has left');
    told($one->{side}, 'leaves', leave_group => own($side, 'classic'), $one->{id}, $CB);
    told($side, 'nobody stores', offset_commit => own($side, 'classic'), -1, '', offsets($side, 8), $CB);
    told($one->{side}, 'who has left stores', @commit);
    stored($side, own($side, 'classic'));
    return;
}

sub static_members {
    my ($side) = @_;
    my $one = member($side, group => own($side, 'static'), name => 'fixed');
    join_now($one, 'the first');
    sync($one, 'the first assigns', $one);
    my $again = member($side, group => own($side, 'static'), name => 'fixed');
    join_now($again, 'it is back');
    beat($one, 'who was there before');
    sync($again, 'is told');
    beat($again, 'stable');
    beat({ %$again, name => 'unknown' }, 'an unknown name');
    told($one->{side}, 'leaves', leave_group => own($side, 'static'), $again->{id}, $CB);
    beat($again, 'gone');
    return;
}

# --- groups of the new protocol ------------------------------------------------------------------

# A ConsumerGroupHeartbeat of version 1, with everything that a first one has: error and epoch.
sub consumer_beat {
    my ($side, $what, %beat) = @_;
    my $compact = sub { defined $_[0] ? chr(1 + length $_[0]) . $_[0] : chr 0 };
    my $request = pack 'n n N n C', 68, 1, 7, 0xffff, 0;
    $request .= $compact->($beat{group} // own($side, 'new')) . $compact->($beat{id}) . pack 'l>', $beat{epoch} // 0;
    $request .= $compact->($beat{name}) . chr(0) . pack 'l>', $beat{timeout} // 10_000;
    $request .= chr(2) . $compact->($side->{topic}) . chr(0) . $compact->($beat{assignor}) . chr(1) . chr(0);
    my $socket = IO::Socket::INET->new($side->{address}) or die "connect: $!";
    my ($error, $rest);
    # The coordinator may not be there yet.
    while (!defined $error || $TRANSIENT{$error}) {
        $socket->blocking(1);
        $socket->syswrite(pack 'N/a', $request);
        $socket->blocking(0);
        my $answer  = '';
        my $is_full = sub { length $answer >= 4 && length $answer >= 4 + unpack 'N', $answer };
        await($what, sub {
            my ($done) = @_;
            my $watcher;
            $watcher = EV::io $socket, EV::READ, sub {
                sysread($socket, $answer, 4096, length $answer) or die "$what: connection closed\n";
                ($watcher = undef, $done->()) if $is_full->();
            };
        });
        (undef, undef, undef, undef, $error, $rest) = unpack 'N N C N n a*', $answer;
    }
    return note_down($side, "$what:", $error) if $error;
    for (1, 2) { my $length = ord $rest; $rest = substr $rest, $length || 1 }
    # The numbers of epochs are the coordinator's own affair.
    note_down($side, "$what:", $error);
    return unpack 'l>', $rest;
}

sub new_groups {
    my ($side) = @_;
    consumer_beat($side, 'a group that never was', id => 'a', epoch => 1);
    consumer_beat($side, 'no id',          id => '');
    consumer_beat($side, 'no group',       id => 'a', group => '');
    consumer_beat($side, 'no timeout',     id => 'a', timeout => -1);
    consumer_beat($side, 'an odd epoch',   id => 'a', epoch => -3);
    consumer_beat($side, 'no such name',   id => 'a', epoch => -2);
    consumer_beat($side, 'an odd assignor', id => 'a', assignor => 'mine');
    my $first = consumer_beat($side, 'joins', id => 'a');
    consumer_beat($side, 'joins again',   id => 'a');
    $first = consumer_beat($side, 'stays', id => 'a', epoch => $first);
    consumer_beat($side, 'a later epoch', id => 'a', epoch => $first + 5);
    consumer_beat($side, 'a stranger',    id => 'b', epoch => $first);
    my $second = consumer_beat($side, 'joins', id => 'b');
    $first  = consumer_beat($side, 'gives all up', id => 'a', epoch => $first);
    $second = consumer_beat($side, 'stays',        id => 'b', epoch => $second);
    for my $off (-1, 0, 1) {
        told($side, "stores $off off its epoch", offset_commit => own($side, 'new'), $second + $off, 'b',
            offsets($side, 5), $CB);
    }
    told($side, 'a stranger stores', offset_commit => own($side, 'new'), $second, 'c', offsets($side, 5), $CB);
    told($side, 'nobody stores',     offset_commit => own($side, 'new'), -1, '', offsets($side, 5), $CB);
    consumer_beat($side, 'leaves',       id => 'b', epoch => -1);
    consumer_beat($side, 'leaves again', id => 'b', epoch => -1);
    consumer_beat($side, 'leaves', id => 'a', epoch => -1);
    told($side, 'nobody stores', offset_commit => own($side, 'new'), -1, '', offsets($side, 5), $CB);

    consumer_beat($side, 'a static member',     id => 'a', name => 'n', group => own($side, 'fixed'));
    consumer_beat($side, 'its place is taken',  id => 'b', name => 'n', group => own($side, 'fixed'));
    consumer_beat($side, 'leaves for now',      id => 'a', name => 'n', group => own($side, 'fixed'), epoch => -2);
    consumer_beat($side, 'is back',             id => 'b', name => 'n', group => own($side, 'fixed'));
    consumer_beat($side, 'who was there',       id => 'a', name => 'n', group => own($side, 'fixed'), epoch => 1);
    consumer_beat($side, 'an unknown name',     id => 'b', name => 'm', group => own($side, 'fixed'), epoch => 1);
    return;
}

# --- both, side by side --------------------------------------------------------------------------

my $address = shared_cluster($KafkaCluster::NEWEST)->address(1);
my $mock = EV::Kafka::Mock->new;

my %SCENARIOS = (
    idempotence           => \&idempotence,
    transactions          => \&transactions,
    transactional_offsets => \&transactional_offsets,
    classic_groups        => \&classic_groups,
    static_members        => \&static_members,
    new_groups            => \&new_groups,
);

for my $name (sort keys %SCENARIOS) {
    my $topic = create_topic($address, $name, 2);
    $mock->create_topic($topic, 2);
    my ($real, $mocked) = map { side($_, $topic) } $address, $mock->bootstrap;
    for my $side ($real, $mocked) {
        eval { $SCENARIOS{$name}->($side); 1 } or fail "$name, at $side->{address}: $@";
    }
    is_deeply $mocked->{trace}, $real->{trace}, "$name: " . @{ $real->{trace} } . ' answers';
    for my $step (0 .. $#{ $real->{trace} }) {
        my ($theirs, $ours) = map { $_->{trace}[$step] // 'nothing' } $real, $mocked;
        diag "$name, step $step: the broker says '$theirs', the mock '$ours'" if $theirs ne $ours;
    }
}

done_testing;

use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use GroupTest;
use MockTest qw(croaks_like);
use TestKafka;

# commit and committed for a group that the client is no member of.

my @G = ({ group_id => 'g' });
sub t { my ($partition, $offset) = @_; return { topic => 't', partition => $partition, defined $offset ? (offset => $offset) : () } }

# What a call tells, when it has.
sub told {
    my ($kafka, $method, @arguments) = @_;
    my $told;
    $kafka->$method(@arguments, sub { $told = [@_] });
    wait_until { $told } $method;
    return $told;
}

subtest 'offsets that are given' => sub {
    my $mock  = filled(3, 5);
    my $kafka = connected(brokers => $mock->bootstrap);
    is_deeply told($kafka, commit => [t(0, 3), { %{ t(1, 4) }, metadata => 'here' }], @G), [undef], 'are stored';
    is_deeply committed_in($mock), { 't:0' => 3, 't:1' => 4 }, 'there';
    is $mock->offsets('g')->{'t:1'}{metadata}, 'here', 'with metadata';
    is_deeply told($kafka, committed => [map { t($_) } 0 .. 2], @G), [{ 't:0' => 3, 't:1' => 4, 't:2' => undef }, undef], 'and read';
    is_deeply told($kafka, committed => [t(1)], { group_id => 'h' }), [{ 't:1' => undef }, undef], 'none of another group';
    is_deeply told($kafka, commit => [], @G), [undef], 'nothing is nothing';
    is_deeply told($kafka, committed => [], @G), [{}, undef], 'to read as well';
};

subtest 'where a program that assigns stands' => sub {
    my $mock = filled(2, 5);
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, on_message => sub { push @got, $_[2] });
    $kafka->assign([t(0, 2), t(1, 5)]);
    $kafka->consume;
    wait_until { @got == 3 } 'records';
    is_deeply told($kafka, commit => @G), [undef], 'is stored';
    is_deeply committed_in($mock), { 't:0' => 5, 't:1' => 5 }, 'of all that is assigned';
    is_deeply told($kafka, committed => @G), [{ 't:0' => 5, 't:1' => 5 }, undef], 'and read';
    is_deeply [errors($kafka)], [], 'no errors';
};

subtest 'before the client is connected, and without a callback' => sub {
    my $mock  = filled(1, 5);
    my $kafka = client(brokers => $mock->bootstrap);
    my $told;
    $kafka->commit([t(0, 1)], @G);
    $kafka->committed([t(0)], @G, sub { $told = [@_] });
    $kafka->connect;
    ok wait_until { (committed_in($mock)->{'t:0'} // 0) == 1 && $told }, 'they wait';
};

subtest 'one at a time, the newest last' => sub {
    my $mock  = filled(2, 50);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'OffsetCommit', error => 16, delay_ms => 20);
    my @told;
    my $had = $mock->request_count('OffsetCommit');
    $kafka->commit([t($_ % 2, $_)], @G, sub { push @told, [@_] }) for 1 .. 20;
    wait_until { @told == 20 } 'commits';
    is_deeply [grep { defined $_->[0] } @told], [], 'all of them';
    is_deeply committed_in($mock), { 't:1' => 19, 't:0' => 20 }, 'the newest';
    is $mock->request_count('OffsetCommit') - $had, 3, 'by one, once more, and one';
};

subtest 'errors' => sub {
    my $mock  = filled(2, 5);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => 'OffsetCommit', partition => 1, error => 12);
    is_deeply told($kafka, commit => [t(0, 1), t(1, 1)], @G), ['OFFSET_METADATA_TOO_LARGE (code 12) for t:1'], 'of a partition';
    is_deeply committed_in($mock), { 't:0' => 1 }, 'the other one is stored';
    $mock->fault(api => 'OffsetCommit', error => 30);
    $kafka->commit([t(0, 2)], @G);
    wait_until { errors($kafka) } 'on_error';
    is_deeply [errors($kafka)], ['commit: GROUP_AUTHORIZATION_FAILED (code 30) for t:0'], 'without a callback on_error hears';
    $mock->fault(api => 'OffsetCommit', error => 14, times => undef);
    $mock->fault(api => 'OffsetFetch', error => 14, times => undef);
    my ($error) = @{ told($kafka, commit => [t(0, 2)], @G) };
    like $error, qr/COORDINATOR_LOAD_IN_PROGRESS .*given up after 8 tries/, 'in the end';
    like told($kafka, committed => [t(0)], @G)->[1], qr/COORDINATOR_LOAD_IN_PROGRESS \(code 14\)/, 'reading, too';
    $mock->clear_faults;

    my $member = joined(member($mock));
    is_deeply told($kafka, commit => [t(0, 4)], @G), ['UNKNOWN_MEMBER_ID (code 25) for t:0: the group has members, who commit themselves'],
        'a group that has members';
    is_deeply told($member->{kafka}, commit => [t(0, 4)], @G), [undef], 'one of them commits as what it is';
    is_deeply told($member->{kafka}, committed => [t(0)], @G), [{ 't:0' => 4 }, undef], 'and reads';
    is_deeply told($member->{kafka}, committed => [t(0)]), [{ 't:0' => 4 }, undef], 'also without the name';
    is_deeply told($member->{kafka}, commit => [t(0, 7)], { group_id => 'h' }), [undef], 'another group is another group';
    is $mock->offsets('h')->{'t:0'}{offset}, 7, 'whose offsets these are';
};

subtest 'close' => sub {
    my $mock  = filled(1, 5);
    my $kafka = connected(brokers => $mock->bootstrap);
    $mock->fault(api => $_, hang => 1) for qw(OffsetCommit OffsetFetch);
    my @told;
    $kafka->commit([t(0, $_)], @G, sub { push @told, "commit $_[0]" }) for 1, 2;
    $kafka->committed([t(0)], @G, sub { push @told, "committed $_[1]" });
    turns 20;
    $kafka->close;
    is_deeply \@told, ['commit client closed', 'commit client closed', 'committed client closed'], 'tells who waits';
};

subtest 'what makes no sense' => sub {
    my $kafka = client(brokers => '127.0.0.1:1');
    my %croaks = (
        "commit: option 'group_id' requires a value"   => [commit => [], {}],
        "commit: unknown option 'group'"               => [commit => [], { group => 'g' }],
        'commit: group_id must be a string'            => [commit => [], { group_id => [] }],
        'commit: too many arguments'                   => [commit => [], @G, sub { }, 1],
        'commit: the callback must be a code reference' => [commit => [], @G, 'x'],
        'committed: partition must be a hashref'       => [committed => ['t'], @G, sub { }],
        'committed: missing topic'                     => [committed => [{ partition => 0 }], sub { }],
        'committed: missing partition'                 => [committed => [{ topic => 't' }], sub { }],
        'committed: partition must not be negative'    => [committed => [t(-1)], sub { }],
        'committed: expected arrayref of partitions or a callback' => [committed => 't'],
    );
    for my $text (sort keys %croaks) {
        my ($method, @arguments) = @{ $croaks{$text} };
        croaks_like(sub { $kafka->$method(@arguments) }, qr/\A\Q$text\E at \Q$0\E line/);
    }
    is_deeply told($kafka, committed => [t(0)]), [undef, 'not subscribed to a group'], 'no group at all';
};

done_testing;

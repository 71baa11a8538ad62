use strict;
use warnings;
use Test::More;

use lib 't/lib';

use EV;
use EV::Kafka;
use GroupTest;
use TestKafka qw(wait_until errors);

# A live group of members of the original EV::Kafka 0.05 beside ours, replaced one by one. Those offer the protocol
# "sticky" with a subscription of version 0, give all up when the group shares out anew, and go on at what was committed.

{
    # One of them, played on a connection: eager, its topics and nothing else in its subscription.
    package Elder;

    use TestKafka qw(wait_until);

    sub new {
        my ($class, $mock) = @_;
        my $self = bless { conn => EV::Kafka::Conn::_new('EV::Kafka::Conn', undef), mock => $mock, member_id => '', owned => [], got => [], errors => [] }, $class;
        my ($broker) = $mock->brokers;
        my $ready;
        $self->{conn}->on_connect(sub { $ready = 1 });
        $self->{conn}->on_error(sub { push @{ $self->{errors} }, @_ });
        $self->{conn}->connect($broker->{host}, $broker->{port});
        wait_until { $ready } 'the connection of an elder';
        $self->join;
        return $self;
    }

    # What it has is given up before it asks to join.
    sub join {
        my ($self) = @_;
        delete $self->{beating};
        my $conn = $self->{conn};
        my $round = ++$self->{round};
        @{ $self->{owned} } = ();
        $conn->join_group('g', $self->{member_id}, ['t'], sub {
            my ($joined, $error) = @_;
            return if $round != $self->{round};
            return push @{ $self->{errors} }, $error if defined $error;
            $self->{member_id} = $joined->{member_id} if length $joined->{member_id};
            return $self->join if $joined->{error_code};
            @$self{qw(generation protocol)} = @$joined{qw(generation_id protocol_name)};
            $self->{leads} = $joined->{leader} eq $self->{member_id} ? 1 : 0;
            $conn->sync_group('g', $self->{generation}, $self->{member_id}, $self->{leads} ? shared(@{ $joined->{members} }) : [], sub {
                my ($synced, $failed) = @_;
                return if $round != $self->{round};
                return push @{ $self->{errors} }, $failed if defined $failed;
                return $self->join if $synced->{error_code};
                $self->owns($synced->{assignment});
            });
        }, 6000, 6000);
        return;
    }

    # As 0.05 leads: the members of version 0 subscriptions, in order, share the partitions evenly.
    sub shared {
        my (@members) = sort { $a->{member_id} cmp $b->{member_id} } @_;
        my %parts;
        push @{ $parts{ $members[$_ % @members]{member_id} } }, $_ for 0 .. 5;
        return [map {
            my @own = @{ $parts{ $_->{member_id} } || [] };
            { member_id => $_->{member_id}, assignment => pack('n N', 0, @own ? 1 : 0)
                . (@own ? pack('n/a* N N*', 't', scalar @own, @own) : '') . pack 'N', 0xffff_ffff };
        } @members];
    }

    # ConsumerProtocol's assignment, version 0 or what follows it.
    sub owns {
        my ($self, $bytes) = @_;
        my (undef, $topics, $rest) = unpack 'n N a*', $bytes // '';
        my @owned;
        for (1 .. $topics || 0) {
            my ($topic, @parts);
            ($topic, $rest) = unpack 'n/a* a*', $rest;
            ($rest, @parts) = (unpack('N/N a*', $rest))[-1, 0 .. unpack('N', $rest) - 1];
            push @owned, map {"$topic:$_"} @parts;
        }
        return $self->reads(sort @owned);
    }

    # What has come since the last commit is read and committed, then it beats.
    sub reads {
        my ($self, @owned) = @_;
        my ($conn, $mock, $round) = @$self{qw(conn mock round)};
        my @parts = map { /(\d+)\z/ } @owned;
        my $goes_on = sub {
            return if $round != $self->{round};
            @{ $self->{owned} } = @owned;
            $self->{beating} = EV::timer 0.02, 0.02, sub { $self->beat };
        };
        return $goes_on->() unless @owned;
        $conn->offset_fetch('g', [{ topic => 't', partitions => \@parts }], sub {
            my ($fetched, $error) = @_;
            return push @{ $self->{errors} }, $error if defined $error;
            return if $round != $self->{round};
            my @read;
            for my $part (@{ $fetched->{topics}[0]{partitions} }) {
                my ($from, $end) = ($part->{offset} < 0 ? 0 : $part->{offset}, scalar @{ [$mock->records('t', $part->{partition})] });
                push @{ $self->{got} }, map {"t:$part->{partition}\@$_"} $from .. $end - 1;
                push @read, { partition => $part->{partition}, offset => $end };
            }
            $conn->offset_commit('g', @$self{qw(generation member_id)}, [{ topic => 't', partitions => \@read }], $goes_on);
        });
        return;
    }

    sub beat {
        my ($self) = @_;
        my $round = $self->{round};
        $self->{conn}->heartbeat('g', $self->{generation}, $self->{member_id}, sub {
            my ($answer, $error) = @_;
            return if $round != $self->{round} || $self->{is_gone};
            $self->join if !defined $error && $answer->{error_code};
        });
        return;
    }

    sub leave {
        my ($self) = @_;
        $self->{is_gone} = 1;
        delete $self->{beating};
        @{ $self->{owned} } = ();
        my $left;
        $self->{conn}->leave_group('g', $self->{member_id}, sub { $left = 1 });
        wait_until { $left } 'an elder to leave';
        return;
    }
}

sub of_ours { my ($member) = @_; return map {"$_->{topic}:$_->{partition}"} @{ $member->{kafka}{cfg}{assignments} } }

# All six partitions, each owned by one member, and every member at rest.
sub is_shared {
    my ($elders, $ours) = @_;
    my @owned = sort map({ @{ $_->{owned} } } @$elders), map { of_ours($_) } @$ours;
    return "@owned" eq join(' ', map {"t:$_"} 0 .. 5) && !grep({ !is_stable($_) } @$ours) && !grep { !@{ $_->{owned} } } @$elders;
}

for my $case (['an elder leads', 1], ['ours leads', 0]) {
    my ($name, $elder_first) = @$case;
    subtest "replaced one by one, $name first" => sub {
        my $mock = filled(6, 3);
        my (@elders, @ours);
        my %option = (session_timeout => 6000, heartbeat_interval => 0.02);
        if ($elder_first) { @elders = (Elder->new($mock)) }
        else              { @ours   = (joined(member($mock, %option))) }
        push @elders, map { Elder->new($mock) } 1 .. 3 - @elders - @ours;
        wait_until { is_shared(\@elders, \@ours) } 'the first group';
        my $everybody = [@elders];
        is scalar(@elders) + @ours, 3, 'three members share the partitions';
        is_deeply [map { $_->{protocol} } @elders], [('sticky') x @elders], 'by sticky';
        is scalar(grep { $_->{leads} } @elders), $elder_first ? 1 : 0, $elder_first ? 'led by an elder' : 'led by ours';

        while (@elders) {
            push @ours, member($mock, %option);
            wait_until { is_shared(\@elders, \@ours) } 'one more of ours';
            (shift @elders)->leave;
            wait_until { is_shared(\@elders, \@ours) } 'one less of the elders';
            $mock->append(t => $_, { key => 'k', value => 'v' }) for 0 .. 5;
        }
        my @all = map { my $partition = $_; map {"t:$partition\@$_"} 0 .. @{ [$mock->records('t', $partition)] } - 1 } 0 .. 5;
        my $missing = sub {
            my %seen = map { $_ => 1 } map { @{ $_->{got} } } @$everybody, @ours;
            return grep { !$seen{$_} } @all;
        };
        wait_until { !$missing->() } 'all records to be read' or diag join ' ', $missing->();
        ok !$missing->(), 'nothing is skipped';
        is_deeply [map { errors($_->{kafka}) } @ours], [], 'ours have no error';
        is_deeply [map { @{ $_->{errors} } } @$everybody], [], 'nor have the elders';
        is left($_), 'left', 'one of ours leaves' for @ours;
    };
}

done_testing;

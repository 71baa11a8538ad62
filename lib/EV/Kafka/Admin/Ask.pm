package EV::Kafka::Admin::Ask;
use strict;
use warnings;

use Scalar::Util qw(weaken);

use EV::Kafka::Error;
use EV::Kafka::Partitions;

# Where admin requests go. It has no state but loop, cluster and coordinators, which are below it.
#
# What is asked is
#   api     the name of Kafka's request
#   fields  its fields, or code that gives them for a version: $fields->($version)
#   least   the lowest version that can say it
#   call    the EV::Kafka::Admin::Call that it is for
#   done    $done->($answer, $error, $version): $error is an EV::Kafka::Error. Where the broker has refused the
#           whole there is an answer as well.
# A connection of its own, for "admin", keeps what takes a broker long from holding up what is produced.

use constant PURPOSE => 'admin';

use constant {
    BROKER_NOT_AVAILABLE       => 8,
    NOT_CONTROLLER             => 41,
    UNSUPPORTED_VERSION        => 35,
    # Of a partition.
    UNKNOWN_TOPIC_OR_PARTITION => 3,
    LEADER_NOT_AVAILABLE       => 5,
};

# Seconds between two tries of partitions whose leaders have moved.
use constant {
    LEADER_BACKOFF     => 0.1,
    LEADER_BACKOFF_MAX => 1,
};

sub new {
    my ($class, %below) = @_;
    return bless { map { $_ => $below{$_} } qw(loop cluster coordinators) }, $class;
}

# The controller; brokers of newer clusters pass on to it what comes to them.
sub controller {
    my ($self, %asked) = @_;
    my $cluster = $self->{cluster};
    return $self->_begin(\%asked,
        node    => sub { $cluster->controller },
        codes   => sub { grep { $_ == NOT_CONTROLLER } _codes_within($_[0]) },
        refused => sub { $cluster->refresh },
    );
}

# Any broker, another one at each try.
sub any {
    my ($self, %asked) = @_;
    my $cluster = $self->{cluster};
    return $self->_begin(\%asked, node => sub {
        my ($turn) = @_;
        my @nodes = $cluster->brokers;
        return @nodes ? $nodes[ $turn % @nodes ] : undef;
    });
}

sub broker {
    my ($self, $node_id, %asked) = @_;
    return $self->_begin(\%asked, node => sub { $node_id }, must_be_known => 1);
}

# Each broker of the cluster, for itself: done gets [$node_id, $answer, $error, $version] of each.
sub brokers {
    my ($self, %asked) = @_;
    my ($call, $done) = @asked{qw(call done)};
    return $self->_when_connected($call, sub {
        my @nodes = sort { $a <=> $b } $self->{cluster}->brokers;
        return $call->each_of(\@nodes, sub {
            my ($node_id, $heard) = @_;
            return $self->broker($node_id, %asked, done => sub { $heard->([$node_id, @_]) });
        }, $done);
    });
}

# The coordinator of a group ("group") or a transactional id ("txn").
sub coordinator {
    my ($self, $kind, $key, %asked) = @_;
    my %about = $self->_about(\%asked, sub { EV::Kafka::Error::is_from_other_coordinator($_[0]) });
    return $self->_when_connected($asked{call}, sub {
        return $self->{coordinators}->request($kind, $key, %about, patience => $asked{call}->patience);
    });
}

# Leaders of partitions. Besides call, api and least:
#   partitions  [{ topic, partition, … }], each named once
#   fields      $fields->($version, @partitions)
#   rows        $rows->($answer): [$topic, $partition, \%row], where the row has an error_code
#   done        $done->([$partition, $row, $error], …), with the elements of partitions in their order
sub leaders {
    my ($self, %asked) = @_;
    my $call = $asked{call};
    my @partitions = @{ $asked{partitions} };
    my %place = map { EV::Kafka::Partitions::key_of($partitions[$_]) => $_ } 0 .. $#partitions;
    my @found;
    my $left = @partitions or return $asked{done}->();
    $asked{found} = sub {
        my ($partition, @row) = @_;
        $found[ $place{ EV::Kafka::Partitions::key_of($partition) } ] = [$partition, @row];
        return --$left ? undef : $asked{done}->(@found);
    };
    return $self->_find_leaders(\%asked, 0, @partitions);
}

# --- one request ------------------------------------------------------------------

sub _when_connected {
    my ($self, $call, $code) = @_;
    return $self->{cluster}->when_connected({
        run => sub { $call->has_ended ? undef : $code->() },
        cb  => sub { $call->fail($_[1]) },
    });
}

# What all requests have in common. $is_moved->($code): whether a code anywhere in the answer means that it was not for
# this broker.
sub _about {
    my ($self, $asked, $is_moved) = @_;
    my ($call, $api, $done) = @$asked{qw(call api done)};
    my $refusal;
    return (
        name   => $api,
        notice => "$api for ${\ $call->name }",
        alive  => sub { !$call->has_ended },
        send   => sub {
            my ($conn, $answered, $where) = @_;
            my $version = $conn->_spoken_version($api);
            if (!defined $version || $version < ($asked->{least} // 0)) {
                $refusal = _not_offered($asked, $where->{node_id}, $version);
                return $answered->(undef, $refusal->text);
            }
            return _send($conn, $asked, $version, sub {
                my ($answer, $error) = @_;
                return $answered->(undef, $error) if defined $error;
                my ($moved) = grep { $is_moved->($_) } _codes_within($answer);
                return $answered->({ error_code => $moved // $answer->{error_code} // 0, answer => $answer, version => $version });
            });
        },
        done => sub {
            my ($heard, $error) = @_;
            my $answer = $heard && $heard->{answer};
            $error = $refusal if $error && $refusal;
            $error = EV::Kafka::Error->of_code($error->code, $answer->{error_message})->of($api)
                if $error && $answer && length($answer->{error_message} // '');
            return $done->($answer, $error, $heard && $heard->{version});
        },
    );
}

# What cannot be sent is refused, for good.
sub _send {
    my ($conn, $asked, $version, $heard) = @_;
    my ($api, $fields, $call) = @$asked{qw(api fields call)};
    local $@;
    return if eval {
        my $given = ref $fields eq 'CODE' ? $fields->($version) : $fields;
        $conn->_ask($api, $given, $call->broker_ms, $heard);
        1;
    };
    return $heard->(undef, EV::Kafka::Error::reason($@) =~ s/\A\Q$api\E: //r);
}

sub _not_offered {
    my ($asked, $node_id, $version) = @_;
    my ($api, $need) = ($asked->{api}, $asked->{call}->name);
    $api .= " version $asked->{least}" if defined $version;
    return EV::Kafka::Error->of_code(UNSUPPORTED_VERSION)->at(broker => $node_id)
        ->said("broker $node_id does not offer $api (needed for $need)");
}

sub _codes_within {
    my ($answer) = @_;
    return map { _codes_within($_) } @$answer if ref $answer eq 'ARRAY';
    return unless ref $answer eq 'HASH';
    return ($answer->{error_code} || (), map { _codes_within($_) } grep { ref } values %$answer);
}

# node: $node->($turn) gives whom to ask, undef while nobody knows.
sub _begin {
    my ($self, $asked, %route) = @_;
    my $call = $asked->{call};
    my %about = $self->_about($asked, $route{codes} ? sub { $_[0] == NOT_CONTROLLER } : sub { 0 });
    weaken(my $weak = $self);
    return $self->_when_connected($call, sub {
        $self->{coordinators}->begin(
            %about,
            patience => $call->patience,
            refused  => $route{refused} || sub { },
            to       => sub { my ($request) = @_; $weak->_lead($request, \%route) if $weak },
            lost     => sub {
                my ($where) = @_;
                $weak->{cluster}->request_failed(@$where{qw(purpose node_id)}) if $weak;
            },
        );
    });
}

sub _lead {
    my ($self, $request, $route) = @_;
    my $cluster = $self->{cluster};
    my $node_id = $route->{node}->($request->round - 1);
    if (!defined $node_id || !$cluster->broker($node_id)) {
        $cluster->refresh;
        return $request->refuse(EV::Kafka::Error->of_code(BROKER_NOT_AVAILABLE, "there is no broker $node_id")) if $route->{must_be_known};
        return $request->again(_not_now('the controller is not known'));
    }
    return $cluster->on_broker(PURPOSE, $node_id, {
        run => sub { $request->go($_[1], purpose => PURPOSE, node_id => $node_id) },
        cb  => sub { $cluster->refresh; $request->again(_not_now($_[1])) },
    });
}

sub _not_now { return EV::Kafka::Error->from($_[0])->as_retriable }

# --- partitions -------------------------------------------------------------------

# Each waits until its topic has a leader; those that have one are asked together.
sub _find_leaders {
    my ($self, $asked, $round, @partitions) = @_;
    return $asked->{call}->each_of(\@partitions, sub {
        my ($partition, $known) = @_;
        return $self->{cluster}->on_topic({
            topic     => $partition->{topic},
            partition => $partition->{partition},
            run       => sub { $known->($partition) },
            cb        => sub { $asked->{found}->($partition, undef, $self->_without_leader($partition, $_[1])); $known->() },
        });
    }, sub { $self->_ask_leaders($asked, $round, grep { $_ } @_) });
}

sub _without_leader {
    my ($self, $partition, $error) = @_;
    my $is_known = $self->{cluster}->is_known(@$partition{qw(topic partition)});
    return EV::Kafka::Error->of_code($is_known ? LEADER_NOT_AVAILABLE : UNKNOWN_TOPIC_OR_PARTITION, ref $error ? $error->text : $error);
}

sub _ask_leaders {
    my ($self, $asked, $round, @partitions) = @_;
    my $cluster = $self->{cluster};
    for my $request (EV::Kafka::Partitions::by_leader(sub { $cluster->leader(@_) }, @partitions)) {
        my ($leader, $mine) = @$request;
        if (!defined $leader) {
            $self->_look_again($asked, $round, EV::Kafka::Error->of_code(UNKNOWN_TOPIC_OR_PARTITION), @$mine);
            next;
        }
        $self->broker($leader,
            map({ $_ => $asked->{$_} } qw(call api least)),
            fields => sub { $asked->{fields}->($_[0], @$mine) },
            done   => sub { my ($answer, $error) = @_; $self->_leader_answered($asked, $round, $mine, $answer, $error) },
        );
    }
    return;
}

sub _leader_answered {
    my ($self, $asked, $round, $partitions, $answer, $error) = @_;
    my %row = $answer ? map { ("$_->[0]:$_->[1]" => $_->[2]) } $asked->{rows}->($answer) : ();
    my (@moved, $code);
    for my $partition (@$partitions) {
        my $row = $row{ EV::Kafka::Partitions::key_of($partition) };
        if ($row && _is_moved($row->{error_code})) {
            push @moved, $partition;
            $code = $row->{error_code};
            next;
        }
        $asked->{found}->($partition, $row, $row ? undef : $error || EV::Kafka::Error->without_code("$asked->{api}: the answer lacks the partition"));
    }
    return @moved ? $self->_look_again($asked, $round, EV::Kafka::Error->of_code($code), @moved) : undef;
}

sub _is_moved {
    my ($code) = @_;
    return EV::Kafka::Error::is_leader_error($code) || $code == UNKNOWN_TOPIC_OR_PARTITION;
}

# Another broker leads them by now, or will.
sub _look_again {
    my ($self, $asked, $round, $error, @partitions) = @_;
    my ($call, $cluster) = ($asked->{call}, $self->{cluster});
    my $wait = $self->{loop}->backoff($round + 1, LEADER_BACKOFF, LEADER_BACKOFF_MAX);
    my %gone = map { $_ => 1 } grep { $cluster->is_gone(@{ $partitions[$_] }{qw(topic partition)}) } 0 .. $#partitions;
    my @left = $wait < $call->left ? grep { !$gone{$_} } 0 .. $#partitions : ();
    my %is_left = map { $_ => 1 } @left;
    $asked->{found}->($partitions[$_], undef, $error) for grep { !$is_left{$_} } 0 .. $#partitions;
    return unless @left;
    $cluster->want($_) for map { $partitions[$_]{topic} } @left;
    return $call->later($wait, sub { $self->_find_leaders($asked, $round + 1, @partitions[@left]) });
}

1;

__END__

=head1 NAME

EV::Kafka::Admin::Ask - leads admin requests to the broker that has to answer them

=head1 DESCRIPTION

For L<EV::Kafka::Admin>, not for use by itself. Requests wait for the first metadata, go to whom they are for, and are
tried again when it is another one, or was lost, until the time of their call is over. What a broker does
not offer is an error with code 35.

=head1 METHODS

What is asked is described at the head of the module.

=head2 new(%below)

With loop, cluster and coordinators.

=head2 controller(%asked), any(%asked), broker($node_id, %asked), coordinator($kind, $key, %asked)

One request.

=head2 brokers(%asked), leaders(%asked)

One to each broker, or to each leader of partitions.

=head1 SEE ALSO

L<EV::Kafka::Admin>, L<EV::Kafka::Request>

=cut

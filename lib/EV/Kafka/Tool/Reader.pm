package EV::Kafka::Tool::Reader;
use strict;
use warnings;

use EV;
use Time::Local ();

use EV::Kafka::Tool;

# Reading partitions: from where, to where, and what for.
#   session
#   ends      by "topic:partition": where it ended at the start
#   starts    by "topic:partition": where it began to read
#   is_read   how many records
#   partitions   [topic, partition], in order

# Seconds between two looks at positions: the end of a partition may hold nothing that is delivered.
use constant LOOK_EVERY => 0.05;

# Partitions that the arguments name (TOPIC or TOPIC:PARTITION), from a place as -o names it.
sub new {
    my ($class, $session, $from, @arguments) = @_;
    my $self = bless { session => $session, is_read => 0, starts => {}, ends => {} }, $class;
    $self->{partitions} = [$self->_partitions(@arguments)];
    $self->_look_up($from);
    return $self;
}

# Another one, which begins where this one ends.
sub from_ends {
    my ($self) = @_;
    return bless { %$self, is_read => 0, starts => { %{ $self->{ends} } } }, ref $self;
}

sub partitions { return @{ $_[0]{partitions} } }

sub is_read { return $_[0]{is_read} }

# How many offsets there are from start to end.
sub total {
    my ($self) = @_;
    my $total = 0;
    $total += $self->{ends}{$_} - $self->{starts}{$_} for keys %{ $self->{ends} };
    return $total;
}

sub _partitions {
    my ($self, @arguments) = @_;
    my %asked = map { my ($topic, $partition) = /\A(.+?)(?::(\d+))?\z/s; $_ => [$topic, $partition] } @arguments;
    my %topics = map { $_->[0] => 1 } values %asked;
    my $described = $self->{session}->admin(describe_topics => [sort keys %topics]);
    my %count;
    for my $topic (@{ $described->{topics} }) {
        die "topic $topic->{name}: ", EV::Kafka::Client::error_name($topic->{error_code}), "\n" if $topic->{error_code};
        $count{ $topic->{name} } = @{ $topic->{partitions} };
    }
    my (@partitions, %seen);
    for my $argument (@arguments) {
        my ($topic, $partition) = @{ $asked{$argument} };
        die "topic $topic has $count{$topic} partitions, not a partition $partition\n" if defined $partition && $partition >= $count{$topic};
        push @partitions, grep { !$seen{"@$_"}++ } map { [$topic, $_] } defined $partition ? $partition : 0 .. $count{$topic} - 1;
    }
    return @partitions;
}

# --- from where to where ------------------------------------------------------------------

sub _look_up {
    my ($self, $from) = @_;
    my %topics = map { $_->[0] => 1 } @{ $self->{partitions} };
    my %range  = map { $_ => $self->{session}->ask(offsets_for => $_) } keys %topics;
    my $times  = $from =~ /\A@(.+)\z/s ? $self->_at($1) : {};
    for my $pair (@{ $self->{partitions} }) {
        my ($topic, $partition) = @$pair;
        my ($earliest, $latest) = @{ $range{$topic}{$partition} || {} }{qw(earliest latest)};
        die "$topic:$partition: nobody tells where it begins and ends\n" unless defined $earliest && defined $latest;
        my $key   = "$topic:$partition";
        my $start = $from eq 'beginning' ? $earliest : $from eq 'end' ? $latest
            : $from =~ /\A-(\d+)\z/ ? $latest - $1
            : $from =~ /\A\d+\z/    ? $from
            : $from =~ /\A@/        ? ($times->{$key} ? $times->{$key}{offset} : $latest)
            :                         EV::Kafka::Tool->mistake("-o: beginning, end, an offset, -N or \@TIME, not '$from'");
        $start = $earliest if $start < $earliest;
        @{ $self->{starts} }{$key} = ($start);
        $self->{ends}{$key} = $latest > $start ? $latest : $start;
    }
    return;
}

sub _at {
    my ($self, $time) = @_;
    my $ms = $time =~ /\A\d+\z/ ? $time : 1000 * _seconds($time);
    return $self->{session}->ask(offsets_for_times => { map { ("$_->[0]:$_->[1]" => $ms) } @{ $self->{partitions} } });
}

# As clocks on this machine show it, or as UTC with a Z behind it.
sub _seconds {
    my ($time) = @_;
    my ($year, $month, $day, $hour, $minute, $second, $is_utc) = $time =~ /\A(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?(Z)?)?\z/
        or EV::Kafka::Tool->mistake("a time is milliseconds since 1970 or like 2026-11-30T12:00:00, not '$time'");
    my @fields = ($second // 0, $minute // 0, $hour // 0, $day, $month - 1, $year);
    return $is_utc ? Time::Local::timegm(@fields) : Time::Local::timelocal(@fields);
}

# --- reading ----------------------------------------------------------------------------

# Calls $each with every record, as on_message gets it, until a signal, until $how{count} of them have come, or, unless
# $how{follow}, until every partition is where it ended at the start. $each may call stop.
sub read {
    my ($self, $each, %how) = @_;
    my ($session, $ends) = @$self{qw(session ends)};
    my $client = $session->client;
    my $most   = $how{count};
    my $is_over = sub { defined $most && $self->{is_read} >= $most || $self->{has_enough} || !$how{follow} && $self->_has_reached_ends };
    $session->stop_by_signal;
    return if $is_over->();
    $client->{cfg}{on_message} = sub {
        my ($topic, $partition, $offset) = @_;
        return if defined $most && $self->{is_read} >= $most || $self->{has_enough};
        # What has come since is not asked for.
        return if !$how{follow} && $offset >= $ends->{"$topic:$partition"};
        $self->{is_read}++;
        $each->(@_);
        $client->stop_consuming if defined $most && $self->{is_read} >= $most;
        return;
    };
    $client->assign([map { { topic => $_->[0], partition => $_->[1], offset => $self->{starts}{"$_->[0]:$_->[1]"} } } @{ $self->{partitions} }]);
    $client->consume;
    my $timer = EV::timer(LOOK_EVERY, LOOK_EVERY, sub { });
    $session->run_until($is_over);
    $client->stop_consuming;
    return;
}

# From within $each: no more.
sub stop { $_[0]{has_enough} = 1; return }

sub _has_reached_ends {
    my ($self) = @_;
    my $client = $self->{session}->client;
    for my $pair (@{ $self->{partitions} }) {
        my $key      = "$pair->[0]:$pair->[1]";
        my $position = $client->position(@$pair) // $self->{starts}{$key};
        return 0 if $position < $self->{ends}{$key};
    }
    return 1;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Reader - partitions that a command of ev-kafka reads

=head1 DESCRIPTION

For the commands of L<EV::Kafka::Tool>, not for use by itself.

=head1 METHODS

=head2 new($session, $from, @arguments)

The partitions that arguments like C<TOPIC> and C<TOPIC:3> name, from C<beginning>, C<end>, an offset, C<-N> or C<@TIME>. Dies of topics and partitions that are
not there.

=head2 from_ends

Another one, for what comes after the ends of this one.

=head2 partitions, total

A list of C<[$topic, $partition]>; how many offsets there are to read until the end.

=head2 read($each, follow => $bool, count => $number)

Calls the code with what C<on_message> gets, to the ends, or for ever.

=head2 stop, is_read

From within that code: no more. How many records have come.

=head1 SEE ALSO

L<ev-kafka>

=cut

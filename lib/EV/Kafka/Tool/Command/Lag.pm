package EV::Kafka::Tool::Command::Lag;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Table;

sub summary { return 'how far groups are behind' }

sub usage { return '[GROUP...]' }

sub options { return ('json|J' => 'a line of JSON for each partition') }

sub run { my ($class, $job) = @_; print $class->report($job); return EV::Kafka::Tool::DONE }

sub report {
    my ($class, $job) = @_;
    my ($session, @groups) = ($job->{session}, @{ $job->{arguments} });
    @groups = map { $_->{group_id} } grep { ($_->{type} // 'classic') ne 'share' } @{ $session->admin('list_groups')->{groups} } unless @groups;
    my @partitions = map { my $topic = $_; map { { topic => $topic->{name}, partition => $_->{partition} } } @{ $topic->{partitions} } }
        grep { !$_->{error_code} } @{ $session->admin('describe_topics')->{topics} };
    my (%offsets, @rows);
    for my $described (@groups ? @{ $session->admin(describe_groups => \@groups)->{groups} } : ()) {
        my $group     = $described->{group_id};
        my $committed = $session->ask(committed => \@partitions, { group_id => $group });
        my $reader_of = _readers($described);
        for my $partition (@partitions) {
            my ($topic, $number) = @$partition{qw(topic partition)};
            my $key    = "$topic:$number";
            my $reader = $reader_of->{$key};
            next unless defined $committed->{$key} || defined $reader;
            $offsets{$topic} ||= $session->ask(offsets_for => $topic);
            my $end = ($offsets{$topic}{$number} || {})->{latest};
            my $lag = defined $committed->{$key} && defined $end ? $end - $committed->{$key} : undef;
            push @rows, [$group, $topic, $number, $committed->{$key}, $end, defined $lag && $lag < 0 ? 0 : $lag, $reader];
        }
    }
    my @names = qw(GROUP TOPIC PARTITION COMMITTED END LAG MEMBER);
    return $job->{option}{json} ? EV::Kafka::Tool::Table->json(\@names, \@rows) : EV::Kafka::Tool::Table->text(\@names, \@rows);
}

# Who has each partition, by "topic:partition".
sub _readers {
    my ($described) = @_;
    my %reader;
    for my $told (@{ $described->{members} || [] }) {
        for my $topic (@{ $told->{assignment} || [] }) {
            $reader{"$topic->{topic}:$_"} = $told->{member_id} for @{ $topic->{partitions} };
        }
    }
    return \%reader;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Lag - ev-kafka lag

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head2 report($job)

The text, for C<watch>.

=head1 SEE ALSO

L<ev-kafka>

=cut

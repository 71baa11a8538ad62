package EV::Kafka::Tool::Command::List;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Table;

my %REPORT = (topics => \&_topics, brokers => \&_brokers, groups => \&_groups, transactions => \&_transactions);

sub summary { return 'the names of topics, brokers, groups or transactions' }

sub usage { return '[topics|brokers|groups|transactions]' }

sub options {
    return (
        'long|l' => 'more than names',
        'all|a'  => 'internal topics, too',
        'json|J' => 'a line of JSON for each',
    );
}

sub run { my ($class, $job) = @_; print $class->report($job); return EV::Kafka::Tool::DONE }

sub report {
    my ($class, $job) = @_;
    my ($what, @rest) = @{ $job->{arguments} };
    $what //= 'topics';
    my $report = $REPORT{$what};
    EV::Kafka::Tool->mistake("list: topics, brokers, groups or transactions, not '@{[join ' ', $what, @rest]}'") if !$report || @rest;
    my ($names, @rows) = $report->($job);
    return EV::Kafka::Tool::Table->json($names, \@rows) if $job->{option}{json};
    return $job->{option}{long} ? EV::Kafka::Tool::Table->text($names, \@rows) : join '', map { "$_->[0]\n" } @rows;
}

sub _topics {
    my ($job) = @_;
    my $topics = $job->{session}->admin('describe_topics')->{topics};
    return ([qw(TOPIC PARTITIONS REPLICAS WITHOUT-LEADER OUT-OF-SYNC)], map {
        my @partitions = @{ $_->{partitions} };
        [$_->{name}, scalar @partitions, @partitions ? scalar @{ $partitions[0]{replicas} } : 0,
            scalar(grep { $_->{leader} < 0 } @partitions), scalar(grep { @{ $_->{isr} } < @{ $_->{replicas} } } @partitions)]
    } grep { $job->{option}{all} || !$_->{is_internal} } @$topics);
}

sub _brokers {
    my ($job) = @_;
    my $answer = $job->{session}->admin('describe_cluster');
    return ([qw(BROKER ADDRESS RACK)], map { [$_->{node_id}, "$_->{host}:$_->{port}", $_->{rack}] } @{ $answer->{brokers} });
}

sub _groups {
    my ($job) = @_;
    my $groups = $job->{session}->admin('list_groups')->{groups};
    return ([qw(GROUP STATE TYPE COORDINATOR)], map { [@$_{qw(group_id state type coordinator)}] } @$groups);
}

sub _transactions {
    my ($job) = @_;
    my $transactions = $job->{session}->admin('list_transactions')->{transactions};
    return ([qw(TRANSACTIONAL-ID STATE PRODUCER)], map { [@$_{qw(transactional_id state producer_id)}] } @$transactions);
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::List - ev-kafka list

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

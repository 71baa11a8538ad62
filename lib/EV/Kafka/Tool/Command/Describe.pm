package EV::Kafka::Tool::Command::Describe;
use strict;
use warnings;

use EV::Kafka::Client;
use EV::Kafka::Tool;
use EV::Kafka::Tool::Table;

sub summary { return 'topics, groups or the cluster, in detail' }

sub usage { return 'TOPIC... | --group GROUP... | --cluster' }

sub options {
    return (
        'group|g'   => 'groups and their members',
        'cluster|c' => 'brokers, features and the controller',
    );
}

sub run { my ($class, $job) = @_; print $class->report($job); return EV::Kafka::Tool::DONE }

sub report {
    my ($class, $job) = @_;
    my ($option, @names) = ($job->{option}, @{ $job->{arguments} });
    return _cluster($job) if $option->{cluster};
    EV::Kafka::Tool->mistake('describe: which? name topics, or groups with --group') unless @names;
    return join "\n", $option->{group} ? _groups($job, @names) : _topics($job, @names);
}

sub _cluster {
    my ($job) = @_;
    my $answer = $job->{session}->admin('describe_cluster');
    my @rows = map { [$_->{node_id}, "$_->{host}:$_->{port}", $_->{rack}, $_->{node_id} == $answer->{controller_id} ? 'yes' : 'no'] } @{ $answer->{brokers} };
    return "cluster $answer->{cluster_id}\n" . EV::Kafka::Tool::Table->text([qw(BROKER ADDRESS RACK CONTROLLER)], \@rows);
}

sub _topics {
    my ($job, @names) = @_;
    my $session   = $job->{session};
    my $described = $session->admin(describe_topics => \@names)->{topics};
    my %settings  = map { $_->{resource_name} => $_ } _settings($session, @names);
    return map {
        my $topic = $_;
        die "topic $topic->{name}: ", EV::Kafka::Client::error_name($topic->{error_code}), "\n" if $topic->{error_code};
        my $offsets = $session->ask(offsets_for => $topic->{name});
        my @rows = map {
            my $range = $offsets->{ $_->{partition} } || {};
            [$_->{partition}, $_->{leader} < 0 ? 'none' : $_->{leader}, join(',', @{ $_->{replicas} }), join(',', @{ $_->{isr} }), @$range{qw(earliest latest)}]
        } @{ $topic->{partitions} };
        my @set = map { "$_->{name}=" . ($_->{value} // '') } grep { ($_->{source} // '') eq 'dynamic_topic' } @{ ($settings{ $topic->{name} } || {})->{configs} || [] };
        join '', "topic $topic->{name}", defined $topic->{topic_id} ? " ($topic->{topic_id})" : '', "\n", (map { "  $_\n" } @set),
            EV::Kafka::Tool::Table->text([qw(PARTITION LEADER REPLICAS IN-SYNC BEGINS ENDS)], \@rows);
    } @$described;
}

# Whoever may not see them, or speaks to a broker that has none, sees the rest.
sub _settings {
    my ($session, @names) = @_;
    my $result = eval { $session->admin(describe_configs => [map { { resource_type => 'topic', resource_name => $_ } } @names]) };
    print {*STDERR} "ev-kafka: settings: $@" unless $result;
    return $result ? @{ $result->{resources} } : ();
}

sub _groups {
    my ($job, @names) = @_;
    return map {
        my $found = $_;
        die "group $found->{group_id}: ", $found->{error_message} // EV::Kafka::Client::error_name($found->{error_code}), "\n" if $found->{error_code};
        my @rows = map {
            my $reader = $_;
            [@$reader{qw(member_id client_id client_host)}, join(' ', map { "$_->{topic}:" . join ',', @{ $_->{partitions} } } @{ $reader->{assignment} || [] })]
        } @{ $found->{members} };
        "group $found->{group_id}: $found->{state}, $found->{type}" . (length($found->{assignor} // '') ? ", $found->{assignor}" : '') . "\n"
            . EV::Kafka::Tool::Table->text([qw(MEMBER CLIENT HOST PARTITIONS)], \@rows);
    } @{ $job->{session}->admin(describe_groups => \@names)->{groups} };
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Describe - ev-kafka describe

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

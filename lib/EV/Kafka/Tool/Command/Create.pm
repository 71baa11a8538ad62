package EV::Kafka::Tool::Command::Create;
use strict;
use warnings;

use EV::Kafka::Client;
use EV::Kafka::Tool;

# What leaves a number to the brokers (KIP-464).
use constant BROKERS_DEFAULT => -1;

sub summary { return 'create topics' }

sub usage { return 'TOPIC...' }

sub options {
    return (
        'partitions|p=i' => 'how many',
        'replicas|r=i'   => 'how many of each partition',
        'config=s@'      => 'NAME=VALUE',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, @names) = ($job->{option}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('create: which topic?') unless @names;
    my %config = map { /\A([^=]+)=(.*)\z/s ? ($1 => $2) : EV::Kafka::Tool->mistake("--config: NAME=VALUE, not '$_'") } @{ $option->{config} || [] };
    my $result = $job->{session}->admin(create_topics => [map { {
        name               => $_,
        num_partitions     => $option->{partitions} // BROKERS_DEFAULT,
        replication_factor => $option->{replicas}   // BROKERS_DEFAULT,
        configs            => \%config,
    } } @names]);
    return $class->told(created => $result->{topics}, 'name');
}

# A line for each element of a result; the exit status.
sub told {
    my ($class, $done, $elements, $name) = @_;
    my $status = EV::Kafka::Tool::DONE;
    for my $element (@$elements) {
        if (my $code = $element->{error_code}) {
            $status = EV::Kafka::Tool::FAILED;
            print {*STDERR} "ev-kafka: $element->{$name} was not $done: ", EV::Kafka::Client::error_name($code),
                length($element->{error_message} // '') ? ": $element->{error_message}" : '', "\n";
        }
        else { print "$done $element->{$name}\n" }
    }
    return $status;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Create - ev-kafka create

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head2 told($done, \@elements, $name)

Says what became of each; the exit status.

=head1 SEE ALSO

L<ev-kafka>

=cut

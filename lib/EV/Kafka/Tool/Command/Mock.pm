package EV::Kafka::Tool::Command::Mock;
use strict;
use warnings;

use EV;
use EV::Kafka::Mock;

use EV::Kafka::Tool;

sub summary { return 'a cluster for tests, in this process' }

sub usage { return '[--port PORT] [--topic NAME:PARTITIONS]...' }

sub options {
    return (
        'port|p=i'    => "the first broker's; others have the next ones",
        'nodes|n=i'   => 'how many brokers, 1 by default',
        'topic|T=s@'  => 'NAME or NAME:PARTITIONS',
        'no-create'   => 'topics that are not there are not made',
        'tls'         => 'connections are encrypted',
        'user|u=s@'   => 'NAME:PASSWORD, for SASL',
        'stdin'       => 'end with standard input',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, @rest) = ($job->{option}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake("mock: options only, not '@rest'") if @rest;
    my %users = map { /\A([^:]+):(.*)\z/s ? ($1 => $2) : EV::Kafka::Tool->mistake("--user: NAME:PASSWORD, not '$_'") } @{ $option->{user} || [] };
    my @topics = map { /\A(.+?)(?::(\d+))?\z/s; [$1, $2 // 1] } @{ $option->{topic} || [] };
    my $mock = EV::Kafka::Mock->new(
        brokers     => $option->{nodes} // 1,
        port        => $option->{port}  // 0,
        auto_create => $option->{'no-create'} ? 0 : 1,
        $option->{tls} ? (tls  => 1) : (),
        %users         ? (sasl => { users => \%users }) : (),
    );
    $mock->create_topic(@$_) for @topics;
    local $| = 1;
    print $mock->bootstrap, "\n";
    my @watchers = map { EV::signal($_, sub { EV::break }) } qw(INT TERM);
    push @watchers, EV::io(\*STDIN, EV::READ, sub { EV::break unless sysread STDIN, my $line, 4096 }) if $option->{stdin};
    EV::run;
    return EV::Kafka::Tool::DONE;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Mock - ev-kafka mock

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut

package EV::Kafka::Tool::Command::Watch;
use strict;
use warnings;

use EV;

use EV::Kafka::Tool;

use constant EVERY => 2;

# What clears a terminal, from its first line on.
use constant CLEAR => "\e[H\e[2J";

my %IS_WATCHED = map { $_ => 1 } qw(list describe lag);

sub summary { return 'list, describe or lag, again and again' }

sub usage { return '[-i SECONDS] [-n TIMES] list|describe|lag [ARGUMENTS]' }

sub options {
    return (
        'interval|i=f' => 'SECONDS, 2 by default',
        'times|n=i'    => 'end after so many',
        'long|l'       => 'as that command knows it',
        'all|a'        => 'as that command knows it',
        'group|g'      => 'as that command knows it',
        'cluster|c'    => 'as that command knows it',
        'json|J'       => 'as that command knows it',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, $name, @arguments) = (@$job{qw(option session)}, @{ $job->{arguments} });
    EV::Kafka::Tool->mistake('watch: list, describe or lag' . (defined $name ? ", not '$name'" : '')) unless defined $name && $IS_WATCHED{$name};
    my $command = EV::Kafka::Tool->command($name);
    my ($every, $times) = ($option->{interval} // EVERY, $option->{times});
    $session->stop_by_signal;
    local $| = 1;
    while (!$session->has_to_stop) {
        my $text = $command->report({ %$job, arguments => \@arguments });
        last if $session->has_to_stop;
        print -t *STDOUT ? CLEAR : '', scalar localtime, "\n\n", $text, -t *STDOUT ? '' : "\n";
        last if defined $times && --$times <= 0;
        my $is_time;
        my $timer = EV::timer($every, 0, sub { $is_time = 1 });
        $session->run_until(sub { $is_time });
    }
    $session->close;
    return EV::Kafka::Tool::DONE;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Watch - ev-kafka watch

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut

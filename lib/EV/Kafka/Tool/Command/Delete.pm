package EV::Kafka::Tool::Command::Delete;
use strict;
use warnings;

use EV::Kafka::Tool;
use EV::Kafka::Tool::Command::Create;

sub summary { return 'delete topics or groups' }

sub usage { return 'TOPIC... | --group GROUP...' }

sub options {
    return (
        'group|g' => 'groups',
        'yes|y'   => 'without a question',
    );
}

sub run {
    my ($class, $job) = @_;
    my ($option, $session, @names) = (@$job{qw(option session)}, @{ $job->{arguments} });
    my $kind = $option->{group} ? 'group' : 'topic';
    EV::Kafka::Tool->mistake("delete: which $kind?") unless @names;
    return EV::Kafka::Tool::FAILED unless $option->{yes} || !-t *STDIN || _is_meant($kind, @names);
    return $option->{group}
        ? EV::Kafka::Tool::Command::Create->told(deleted => $session->admin(delete_groups => \@names)->{groups}, 'group_id')
        : EV::Kafka::Tool::Command::Create->told(deleted => $session->admin(delete_topics => \@names)->{topics}, 'name');
}

sub _is_meant {
    my ($kind, @names) = @_;
    print {*STDERR} "Delete $kind @names with all that is in it? (yes) ";
    my $answer = <STDIN> // '';
    return $answer =~ /\Ay(?:es)?\s*\z/i;
}

1;

__END__

=head1 NAME

EV::Kafka::Tool::Command::Delete - ev-kafka delete

=head1 DESCRIPTION

A command of L<EV::Kafka::Tool>, not for use by itself; L<ev-kafka> describes it.

=head1 METHODS

=head2 summary, usage, options, run($job)

As that class wants them.

=head1 SEE ALSO

L<ev-kafka>

=cut

package EV::Kafka::Group::Topics;
use strict;
use warnings;

# Which topics a member subscribes to: those that it names, and those of the cluster that match one of its patterns.
#   named     what subscribe has named
#   patterns  what topics are matched with here
#   missing   topics that have matched and are not there, as of the last look

sub new {
    my ($class, %about) = @_;
    my $record = $about{member}->record;
    return bless {
        map({ $_ => $about{$_} } qw(member cluster)),
        named => [@{ $record->{topics} }], patterns => $record->{patterns}, missing => {},
    }, $class;
}

sub named { return @{ $_[0]{named} } }

# As metadata are now.
sub look {
    my ($self) = @_;
    my ($member, $cluster) = @$self{qw(member cluster)};
    return unless @{ $self->{patterns} };
    my %is = map { $_ => 1 } $self->named, grep { $self->_matches($_) } $cluster->listed_topics;
    # A broker that lags behind does not know a topic yet: what has been deleted is gone also in the next answer.
    my @missing = grep { !$is{$_} } @{ $member->record->{topics} };
    my @doubted = grep { !$self->{missing}{$_} } @missing;
    $self->{missing} = { map { $_ => 1 } @missing };
    $is{$_} = 1 for @doubted;
    $cluster->want($_) for @doubted;
    my @topics = sort keys %is;
    return $member->wants(\@topics) if "@topics" ne "@{ $member->record->{topics} }";
    return;
}

# The program's pattern may be anything: what matches is what it finds.
sub _matches {
    my ($self, $topic) = @_;
    for my $pattern (@{ $self->{patterns} }) {
        return 1 if $topic =~ $pattern;
    }
    return 0;
}

1;

__END__

=head1 NAME

EV::Kafka::Group::Topics - the topics that a member of a group subscribes to

=head1 DESCRIPTION

A part of L<EV::Kafka::Group>, not for use by itself. What patterns match is another list whenever metadata say
so, which the member has in its record: the protocols tell the coordinator. Internal topics match nothing.

=head1 METHODS

=head2 new(%about)

With C<member> and C<cluster>.

=head2 named

What C<subscribe> has named.

=head2 look

Looks at what the patterns match now.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut

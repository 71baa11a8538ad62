package EV::Kafka::Waits;
use strict;
use warnings;

use Scalar::Util qw(refaddr weaken);

# What a client waits for, told by on_notice when that has lasted for some seconds, and again when there is
# another reason. Who waits says so once, and is then asked, from time to time, until it waits for nothing:
# so a reason that is over is never told. A wait is
#   { subject, text, reason, about, times }
#   subject  what waits: it is told of once for each reason, until it waits no more
#   text     what the program reads, or code that gives it
#   reason   what tells one from another, the text if there is none
#   about    for on_notice beside the text
#   times    how many times as long as others it may last before it is told of, 0 for not at all
# Its own state:
#   askers   by the address of an object and a method: { object (not kept alive), method }; none after the end
#   seen     by subject: { since, told => { reason => 1 } }
#   timer    until the next look, which is due then
#   due

# Seconds for which somebody waits before it is worth a word: a cluster that has just begun, or has
# lost a broker, needs some to sort itself out, which is nobody's affair.
our $PATIENCE = 3;

# Looks in that time.
use constant LOOKS => 4;

# Subjects that are told of at once. The rest of them are counted: who has lost a broker with
# thousands of partitions does not want to read of each.
use constant MOST_AT_ONCE => 10;

# tells: $tell->($subject, $text, \%about), and $over->(@subjects).
sub new {
    my ($class, %about) = @_;
    return bless { map({ $_ => $about{$_} } qw(loop tell over)), askers => {}, seen => {} }, $class;
}

# $object->$method gives what it waits for, whenever it is asked, and is not asked any more once it gives
# nothing. What is known already costs nothing.
sub watch {
    my ($self, $object, $method) = @_;
    my $key = refaddr($object) . $method;
    my $askers = $self->{askers} or return;
    return if $askers->{$key};
    my $asker = $askers->{$key} = { object => $object, method => $method };
    weaken($asker->{object});
    return $self->{timer} ? undef : $self->_look_later;
}

# Nobody is asked any more.
sub end {
    my ($self) = @_;
    delete $self->{timer};
    delete $self->{askers};
    $self->{seen} = {};
    return;
}

# A program whose loop has nothing else to wait for is to end all the same.
sub _look_later {
    my ($self) = @_;
    my $loop  = $self->{loop};
    my $after = $PATIENCE / LOOKS;
    $self->{due}   = $loop->now + $after;
    $self->{timer} = $loop->idle_timer($after, $self, '_look');
    return;
}

sub _look {
    my ($self) = @_;
    delete $self->{timer};
    $self->_forgive_blocking;
    my $waits = $self->_ask;
    my $seen  = $self->{seen};
    my @over  = grep { !$waits->{$_} } keys %$seen;
    delete @$seen{@over};
    $self->{over}->(@over) if @over;
    $self->_tell(grep { $self->_is_due($_) } map { $waits->{$_} } sort keys %$waits);
    $self->_look_later if %{ $self->{askers} || {} };
    return;
}

# While the program did not let the loop turn nothing could be answered.
sub _forgive_blocking {
    my ($self) = @_;
    my $lost = $self->{loop}->now - $self->{due};
    return if $lost < $PATIENCE / LOOKS;
    $_->{since} += $lost for values %{ $self->{seen} };
    return;
}

# What is waited for, by subject.
sub _ask {
    my ($self) = @_;
    my ($askers, %waits) = ($self->{askers});
    for my $key (keys %$askers) {
        my ($object, $method) = @{ $askers->{$key} }{qw(object method)};
        my @waits = $object ? $object->$method : ();
        delete $askers->{$key} unless @waits;
        $waits{ $_->{subject} } ||= $_ for @waits;
    }
    return \%waits;
}

sub _is_due {
    my ($self, $wait) = @_;
    my $now  = $self->{loop}->now;
    my $seen = $self->{seen}{ $wait->{subject} } ||= { since => $now, told => {} };
    return $now - $seen->{since} >= $PATIENCE * ($wait->{times} // 1) && !$seen->{told}{ _reason($wait) }++;
}

sub _reason { return $_[0]{reason} // $_[0]{text} }

sub _tell {
    my ($self, @waits) = @_;
    my @told = splice @waits, 0, MOST_AT_ONCE;
    for my $wait (@told) {
        my ($subject, $text) = @$wait{qw(subject text)};
        $self->{tell}->($subject, ref $text ? $text->() : $text, $wait->{about} || {});
    }
    my $rest = @waits or return;
    $self->{over}->('the rest');
    return $self->{tell}->('the rest', $rest > 1 ? "$rest others wait for the like" : 'another one waits for the like',
        { subjects => [map { $_->{subject} } @waits] });
}

1;

__END__

=head1 NAME

EV::Kafka::Waits - why an EV::Kafka client waits

=head1 DESCRIPTION

A part of L<EV::Kafka::Outbox>, through which the classes that make up L<EV::Kafka::Client> reach it. Each of
them says once that it waits for something, and is asked what that is from then on until it waits no
more. What has lasted for C<$EV::Kafka::Waits::PATIENCE> seconds (3) is told: once for each reason.

=head1 METHODS

=head2 new(%about)

With an L<EV::Kafka::Loop> as C<loop>, and what tells: C<< $tell->($subject, $text, \%about) >>, and
C<< $over->(@subjects) >> for those that wait no more.

=head2 watch($object, $method)

C<< $object->$method >> gives what it waits for: hashes with C<subject>, C<text> (or code for it), and maybe
C<reason>, which tells one text from another, C<about>, and C<times>, how many times as long as
others it may last. The object is not kept alive.

=head2 end

Nobody is asked any more.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Outbox>

=cut

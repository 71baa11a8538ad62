package EV::Kafka::Farewell;
use strict;
use warnings;

use EV ();
use Scalar::Util qw(refaddr weaken);
use Time::HiRes ();

# A program that ends without close has members of groups that nobody will hear of again:
# for a session's time their partitions are read by nobody. Here they leave at the end,
# over connections and a loop of their own: the program's loop may be in any state, and
# nothing of the program is called any more.

# Seconds that the end of the program may be held up.
use constant PATIENCE => 1;

# What is called for their last words, by the address of whose they are.
my %members;

sub expect {
    my ($class, $group, $words) = @_;
    $members{ refaddr $group } = $words;
    return;
}

sub forget {
    my ($class, $group) = @_;
    delete $members{ refaddr $group };
    return;
}

# Addresses that this process serves, by process: at its end nobody answers there.
my %served;

sub is_served_here {
    my ($class, @addresses) = @_;
    $served{$_} = $$ for @addresses;
    return;
}

# Each is called with the loop, and gives nothing or { conn, host, port, say }: $say->($conn, $done)
# sends what there is to say, and $done is called when it was answered.
sub say_all {
    my ($class, @members) = @_;
    my $loop = EV::Loop->new;
    my (@conns, %open);
    for my $member (@members) {
        my $words = $member->($loop) or next;
        next if ($served{"$words->{host}:$words->{port}"} // 0) == $$;
        my $conn  = $words->{conn};
        push @conns, $conn;
        my $id   = refaddr $conn;
        my $done = sub { delete $open{$id} };
        $open{$id} = 1;
        $conn->on_error($done);
        $conn->on_disconnect($done);
        weaken(my $weak = $conn);
        $conn->on_connect(sub { eval { $words->{say}->($weak, $done); 1 } or $done->() });
        $conn->connect(@$words{qw(host port)}, PATIENCE);
    }
    my $end   = _now() + PATIENCE;
    my $guard = $loop->timer(PATIENCE, 0, sub { });
    $loop->run(EV::RUN_ONCE) while %open && _now() < $end;
    $_->disconnect for @conns;
    return;
}

sub _now { return Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC()) }

END {
    local ($@, $!, $?);
    my @members = values %members;
    %members = ();
    eval { __PACKAGE__->say_all(@members); 1 } if @members;
}

1;

__END__

=head1 NAME

EV::Kafka::Farewell - members leave their groups when the program ends

=head1 DESCRIPTION

For L<EV::Kafka::Group>, not for use by itself. In an END block the clients of this process
that are members of a group tell their coordinators, for a second at most. Nothing of the
program is called, and its event loop is not touched.

=head1 METHODS

=head2 expect($group, $words)

The group has a member from now on. C<$words> is called with an event loop for what it has to say then, a hash of
C<conn>, C<host>, C<port> and C<say>, and must not keep it alive.

=head2 forget($group)

It has none any more.

=head2 is_served_here(@addresses)

What listens at C<host:port> is in this process itself, and answers nothing once the event
loop turns no more.

=head2 say_all(@words)

What the END block does.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut

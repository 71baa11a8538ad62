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

# Clients with a group, weakly, by their address.
my %members;

sub expect {
    my ($class, $client) = @_;
    weaken($members{ refaddr $client } = $client);
    return;
}

sub forget {
    my ($class, $client) = @_;
    delete $members{ refaddr $client };
    return;
}

# Addresses that this process serves, by process: at its end nobody answers there.
my %served;

sub is_served_here {
    my ($class, @addresses) = @_;
    $served{$_} = $$ for @addresses;
    return;
}

# What the client has to say is { conn, host, port, say }: $say->($conn, $done) sends it,
# and $done is called when it was answered.
sub say_all {
    my ($class, @clients) = @_;
    my $loop = EV::Loop->new;
    my (@conns, %open);
    for my $client (@clients) {
        my $words = $client->_last_words($loop) or next;
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
    my @clients = grep { defined && $_->_is_here } values %members;
    %members = ();
    eval { __PACKAGE__->say_all(@clients); 1 } if @clients;
}

1;

__END__

=head1 NAME

EV::Kafka::Farewell - members leave their groups when the program ends

=head1 DESCRIPTION

For L<EV::Kafka::Client>, not for use by itself. In an END block the clients of this process
that are members of a group tell their coordinators, for a second at most. Nothing of the
program is called, and its event loop is not touched.

=head1 METHODS

=head2 expect($client)

The client has a group from now on. It is not kept alive.

=head2 forget($client)

It has none any more.

=head2 is_served_here(@addresses)

What listens at C<host:port> is in this process itself, and answers nothing once the event
loop turns no more.

=head2 say_all(@clients)

What the END block does.

=head1 SEE ALSO

L<EV::Kafka>, L<EV::Kafka::Group>

=cut

package EV::Kafka::Conn;
use strict;
use warnings;

use Carp ();
use Scalar::Util qw(weaken);

# loop: the EV loop that it runs on, if not the default one.
sub new {
    my ($class, %options) = @_;
    my $loop    = delete $options{loop};
    my @unknown = sort keys %options;
    Carp::croak("EV::Kafka::Conn: unknown option(s): @{[join ', ', @unknown]}") if @unknown;
    return _new($class, $loop);
}

# Called by the native part when OAUTHBEARER needs a token. Whatever the
# callback keeps of $done keeps no connection alive.
sub _ask_for_token {
    my ($conn, $id, $code) = @_;
    weaken $conn;
    my $pid  = $$;
    my $done = sub {
        my ($token, $error) = @_;
        my $asking = $conn;
        undef $conn;
        # A forked child's connection is another one, with ids of its own.
        $asking->_provide_token($id, $token, $error) if $asking && $pid == $$;
        return;
    };
    local $@;
    return if eval { $code->($done); 1 };
    my $died = $@;
    return $done->(undef, "$died") if $conn;
    eval { warn "EV::Kafka::Conn: token callback error: $died" };    # a __WARN__ handler may die too
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Conn - one connection to one Kafka broker

=head1 SYNOPSIS

    use EV::Kafka;
    my $conn = EV::Kafka::Conn->new;
    $conn->tls(1, '/etc/kafka/ca.pem');
    $conn->sasl('SCRAM-SHA-512', 'alice', $password);
    $conn->on_connect(sub { ... });
    $conn->connect('kafka.example', 9093);

=head1 DESCRIPTION

One connection, without a cluster behind it: it asks one broker what it is told to, and says what has come of it.
See L<EV::Kafka/LOW-LEVEL CONNECTION METHODS>. The class is native and comes with
L<EV::Kafka>, which has to be loaded; this file holds what of it is Perl.

=head1 METHODS

=head2 new(%options)

A connection that is not connected yet. The only option is C<loop>, an L<EV> loop other than the default one.

All other methods are described in L<EV::Kafka/LOW-LEVEL CONNECTION METHODS>.

=head1 SEE ALSO

L<EV::Kafka>

=cut

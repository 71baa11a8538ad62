package EV::Kafka::Conn;
use strict;
use warnings;

use Scalar::Util qw(weaken);

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
    my $conn = EV::Kafka::Conn::_new('EV::Kafka::Conn', undef);
    $conn->tls(1, '/etc/kafka/ca.pem');
    $conn->sasl('SCRAM-SHA-512', 'alice', $password);
    $conn->on_connect(sub { ... });
    $conn->connect('kafka.example', 9093);

=head1 DESCRIPTION

See L<EV::Kafka/LOW-LEVEL CONNECTION METHODS>. The class is native and comes with
L<EV::Kafka>, which has to be loaded; this file holds what of it is Perl.

=head1 SEE ALSO

L<EV::Kafka>

=cut

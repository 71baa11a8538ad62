package EV::Kafka::Security;
use strict;
use warnings;

use Carp         ();
use overload     ();
use Scalar::Util qw(reftype);

# A croak names the line of the program, not one of ours.
our @CARP_NOT = qw(EV::Kafka::Options EV::Kafka::Client);

my @PASSWORD_MECHANISMS = qw(PLAIN SCRAM-SHA-256 SCRAM-SHA-512);
# What whoever sees a mechanism's messages can read.
my %READABLE            = (PLAIN => 'password', OAUTHBEARER => 'token');
my @MECHANISMS          = (@PASSWORD_MECHANISMS, 'OAUTHBEARER');

# The option 'sasl' as a hash of known keys and plain values; undef when it is
# off. No text of a croak holds a credential.
sub check_sasl {
    my ($name, $sasl) = @_;
    return undef unless $sasl;
    _bad('must be a hash reference') unless ref $sasl && reftype($sasl) eq 'HASH';
    my %sasl = map { $_ => $sasl->{$_} } grep { defined $sasl->{$_} } keys %$sasl;
    my $mechanism = delete $sasl{mechanism};
    _bad('needs a mechanism: ' . join ', ', @MECHANISMS) unless defined $mechanism;
    _bad("names an unsupported SASL mechanism: '$mechanism' (there are " . join(', ', @MECHANISMS) . ')')
        unless grep { $_ eq $mechanism } @MECHANISMS;
    my $check = $mechanism eq 'OAUTHBEARER' ? \&_check_token : \&_check_password;
    $check->(\%sasl, $mechanism);
    return { mechanism => $mechanism, %sasl };
}

sub _check_password {
    my ($sasl, $mechanism) = @_;
    _check_keys($sasl, $mechanism, qw(username password));
    for my $key (qw(username password)) {
        _bad("has a $key that is not a string") unless _is_text($sasl->{$key} // '');
    }
    _bad('needs a username (SCRAM: username required)')
        if $mechanism =~ /\ASCRAM/ && ($sasl->{username} // '') eq '';
    return;
}

sub _check_token {
    my ($sasl, $mechanism) = @_;
    _check_keys($sasl, $mechanism, qw(token extensions));
    _check_extensions($sasl->{extensions}) if exists $sasl->{extensions};
    my $token = $sasl->{token};
    _bad('needs a token') unless defined $token;
    return if ref $token && reftype($token) eq 'CODE';
    _bad('has a token that is neither a string nor a code reference') unless _is_text($token);
    _bad('needs a token') if $token eq '';
    return;
}

# RFC 7628, section 3.1: what may be said beside a token.
sub _check_extensions {
    my ($extensions) = @_;
    _bad('has extensions that are not a hash reference') unless ref $extensions && reftype($extensions) eq 'HASH';
    for my $key (sort keys %$extensions) {
        my $value = $extensions->{$key} // '';
        _bad("has an extension '$key': a key is letters, and not 'auth'") unless $key =~ /\A[A-Za-z]+\z/ && $key ne 'auth';
        _bad("has an extension '$key': a value is printable ASCII, and not empty")
            unless _is_text($value) && $value =~ /\A[\x20-\x7e\t\r\n]+\z/;
    }
    return;
}

sub _check_keys {
    my ($sasl, $mechanism, @known) = @_;
    my %known   = map { $_ => 1 } @known;
    my @unknown = sort grep { !$known{$_} } keys %$sasl;
    _bad("has key(s) that $mechanism does not take: " . join ', ', @unknown) if @unknown;
    return;
}

sub _is_text { !ref $_[0] || overload::Method($_[0], '""') }

sub _bad { Carp::croak("EV::Kafka: option 'sasl' $_[0]") }

# The connection that the client's connections are made like; undef when they
# are plain. It never connects: it holds the certificates and the credentials,
# which from here on are nowhere in $cfg, and so in no dump of it.
sub model {
    my ($class, $cfg, $is_tls_said) = @_;
    my $sasl = $cfg->{sasl};
    _warn_of_plain_text($cfg, $is_tls_said) unless $cfg->{tls};
    if (!$cfg->{tls} && !$sasl) {
        _hide_secrets_of_tls($cfg);
        return undef;
    }
    my $model = EV::Kafka::Conn::_new('EV::Kafka::Conn', $cfg->{loop});
    _encrypt($model, $cfg) if $cfg->{tls};
    _hide_secrets_of_tls($cfg);
    return $model unless $sasl;
    my ($mechanism, $username) = @$sasl{qw(mechanism username)};
    $model->sasl($mechanism, $mechanism eq 'OAUTHBEARER' ? @$sasl{qw(token extensions)} : ($username, $sasl->{password}));
    $cfg->{sasl} = { mechanism => $mechanism, defined $username ? (username => $username) : (),
        ref $sasl->{token} ? (asks_for_token => 1) : () };
    return $model;
}

# What is readable on the way that was hardly meant to be. tls => 0 says that it was.
sub _warn_of_plain_text {
    my ($cfg, $is_meant) = @_;
    my $secret = $READABLE{ ($cfg->{sasl} || {})->{mechanism} // '' };
    Carp::carp("EV::Kafka: SASL $cfg->{sasl}{mechanism} configured without TLS: whoever sees the traffic can read the $secret")
        if $secret;
    my @given = sort grep { /\Atls_/ && $cfg->{$_} } keys %$cfg;
    Carp::carp('EV::Kafka: ' . join(', ', @given) . ' given without tls => 1: nothing is encrypted (tls => 0 says that this is meant)')
        if @given && !$is_meant;
    return;
}

sub _encrypt {
    my ($model, $cfg) = @_;
    my %options = map { $_ => $cfg->{$_} } grep { /\Atls_/ } keys %$cfg;
    return if eval { $model->tls(1, \%options); 1 };
    my ($reason) = $@ =~ /\AEV::Kafka::Conn: tls: (.*?)(?: at \S.* line [0-9]+\.)?\s*\z/s;
    Carp::croak('EV::Kafka: TLS: ' . ($reason // $@));
}

# A key's password, and what may be a key.
sub _hide_secrets_of_tls {
    my ($cfg) = @_;
    delete $cfg->{tls_key_password};
    for my $name (qw(tls_ca_file tls_cert_file tls_key_file)) {
        $cfg->{$name} = 'PEM text' if ($cfg->{$name} // '') =~ /-----BEGIN /;
    }
    return;
}

1;

__END__

=head1 NAME

EV::Kafka::Security - how an EV::Kafka client's connections are encrypted and authenticated

=head1 DESCRIPTION

A part of L<EV::Kafka::Client>, not for use by itself. It checks the options C<tls*> and
C<sasl> and puts them into a connection that never connects, like which all the client's
connections are made: they share what is slow to compute, and the client's own data holds
no secrets.

=head1 METHODS

=head2 check_sasl($name, \%sasl)

A checked copy of the option, or undef when it is off. Croaks on what makes no sense.

=head2 model(\%cfg, $is_tls_said)

The connection to make others like, or undef when neither TLS nor SASL is on. Croaks when
a file cannot be read or used, warns when a password or token would cross the network
readable, or when TLS is off without having been turned off and yet has options, and takes
the credentials out of C<%cfg>.

=head1 SEE ALSO

L<EV::Kafka>

=cut

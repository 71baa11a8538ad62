package SaslPeer;
use strict;
use warnings;

use Digest::SHA ();
use Exporter    qw(import);
use MIME::Base64 qw(encode_base64 decode_base64);

use ConnPeer;

our @EXPORT = qw(sasl_peer authenticate_answer refusal scram_server);

# The API keys of SASL.
use constant { SASL_HANDSHAKE => 17, SASL_AUTHENTICATE => 36 };

# A peer that takes the mechanisms, and asks on_message => sub { ($bytes, $peer) }
# for the answer to each message of an exchange. It writes down the mechanisms
# that were chosen and the messages.
sub sasl_peer {
    my (%args) = @_;
    my %takes = map { $_ => 1 } @{ $args{mechanisms} };
    my $peer;
    $peer = ConnPeer->new(
        versions   => { %{ $args{versions} || {} }, 17 => [0, 1], 36 => [0, 1] },
        on_request => sub {
            my ($peer, $request) = @_;
            if ($request->{api} == SASL_HANDSHAKE) {
                my $mechanism = unpack 'n/a*', $request->{body};
                push @{ $peer->{mechanisms} }, $mechanism;
                return pack('n', $takes{$mechanism} ? 0 : 33) . array(map { string($_) } @{ $args{mechanisms} });
            }
            if ($request->{api} == SASL_AUTHENTICATE) {
                my $message = unpack 'N/a*', $request->{body};
                push @{ $peer->{messages} }, $message;
                return $args{on_message}->($message, $peer);
            }
            return $args{on_request} ? $args{on_request}->($peer, $request) : undef;
        },
    );
    return $peer;
}

# The answer that goes on with the exchange, or ends it well.
sub authenticate_answer {
    my ($bytes, $lifetime_ms) = @_;
    return pack 'n n N/a* q>', 0, 0xffff, $bytes, $lifetime_ms || 0;
}

# 58 is SASL_AUTHENTICATION_FAILED.
sub refusal {
    my ($message) = @_;
    return pack 'n n/a* N q>', 58, $message, 0, 0;
}

# A server of one SCRAM exchange (RFC 5802) for on_message. It lies where
# %lie says so: nonce, signature; or says first or last instead of its own messages, "NONCE"
# being the client's. iterations are 4096 where %lie has no others.
sub scram_server {
    my ($hash, $password, %lie) = @_;
    my $digest = Digest::SHA->can("sha$hash");
    my $hmac   = Digest::SHA->can("hmac_sha$hash");
    my ($salt, $iterations) = ("salt\0\xff", $lie{iterations} // 4096);
    my ($client_first, $server_first);
    return sub {
        my ($message) = @_;
        if ($message =~ /\An,,(n=.*,r=(.*))\z/s) {
            ($client_first, my $nonce) = ($1, $2);
            $nonce = 'another' if $lie{nonce};
            $server_first = "r=${nonce}server,s=" . encode_base64($salt, '') . ",i=$iterations";
            return authenticate_answer($lie{first} =~ s/NONCE/$nonce/r) if defined $lie{first};
            return authenticate_answer($server_first);
        }
        my ($final, $proof) = $message =~ /\A(c=biws,r=.*),p=(.*)\z/s or return refusal('not SCRAM');
        my $salted = _salted($hmac, $password, $salt, $iterations);
        my $client_key = $hmac->('Client Key', $salted);
        my $auth       = "$client_first,$server_first,$final";
        my $signature  = $hmac->($auth, $digest->($client_key));
        return refusal('wrong password') if (decode_base64($proof) ^ $signature) ne $client_key;
        my $verifier = $hmac->($auth, $hmac->('Server Key', $salted));
        $verifier = $digest->($verifier) if $lie{signature};
        return authenticate_answer($lie{last} // 'v=' . encode_base64($verifier, ''));
    };
}

sub _salted {
    my ($hmac, $password, $salt, $iterations) = @_;
    my $round = my $salted = $hmac->("$salt\0\0\0\1", $password);
    $salted ^= $round = $hmac->($round, $password) for 2 .. $iterations;
    return $salted;
}

1;

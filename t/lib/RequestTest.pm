package RequestTest;
use strict;
use warnings;

use B ();
use EV;
use EV::Kafka;
use Exporter qw(import);
use Test::More;

use ConnPeer;
use TestKafka qw(wait_until turns);

# What the tests of request methods share: connections whose peer advertises one
# version of one API, and the fields of Kafka's flexible versions (KIP-482).

our @EXPORT = qw(
    at_version sent answered croak_of reference_counts breaks_off
    i16 i32 i64 bytes null_string null_bytes cstring cbytes cnull carray
);

sub i16   { pack 's>*', @_ }
sub i32   { pack 'l>*', @_ }
sub i64   { pack 'q>*', @_ }
sub bytes { pack 'l>/a*', $_[0] }
sub null_string { i16(-1) }
sub null_bytes  { i32(-1) }

# Lengths below 127 are one byte of a varint.
sub cstring { chr(1 + length $_[0]) . $_[0] }
sub cbytes  { cstring(@_) }
sub cnull   { "\0" }
sub carray  { chr(1 + @_) . join '', @_ }

# at_version([$api, $version, %options of ConnPeer]) -> connection, peer. Without
# a version the peer advertises nothing.
sub at_version {
    my ($api, $version, %options) = @_;
    my $peer = ConnPeer->new(%options, versions => defined $version ? { $api => [0, $version] } : {});
    my ($conn) = ready($peer);
    return ($conn, $peer);
}

# The one request that a call sends.
sub sent {
    my ($peer, $call) = @_;
    @{ $peer->{requests} } = ();
    $call->();
    wait_until { @{ $peer->{requests} } } 'the request';
    return $peer->{requests}[0];
}

# What the callback of a call gets.
sub answered {
    my ($call) = @_;
    my @got;
    $call->(sub { push @got, [@_] });
    wait_until { @got } 'the answer';
    is @got, 1, 'called once';
    return @{ $got[0] };
}

sub croak_of {
    my ($code) = @_;
    return eval { $code->(); 1 } ? undef : $@;
}

# How many references there are to each thing that the arguments refer to, at
# any depth.
sub reference_counts {
    return map {
        my $in = ref eq 'ARRAY' ? $_ : ref eq 'HASH' ? [values %$_] : [];
        ref() ? (B::svref_2object($_)->REFCNT, reference_counts(@$in)) : ();
    } @_;
}

# An answer that ends early is marked wherever that is; the whole one is not.
sub breaks_off {
    my ($method, $version, $answer) = @_;
    my @unmarked = grep {
        my $result = EV::Kafka::_test_parse_response($method, $version, substr $answer, 0, $_);
        !$result->{truncated};
    } 0 .. length($answer) - 1;
    is_deeply \@unmarked, [], "$method v$version: marked wherever it ends";
    my $whole = EV::Kafka::_test_parse_response($method, $version, $answer);
    ok !$whole->{truncated}, 'and the whole one is not';
    return $whole;
}

1;

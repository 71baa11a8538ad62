use strict;
use warnings;
use Test::More;

use lib 't/lib';
use EV;
use EV::Kafka;
use EV::Kafka::Mock;
use MockTest ();
use TestKafka;

# The option headers: what the headers of a message that is read are.

my $mock = EV::Kafka::Mock->new;
$mock->create_topic(t => 1);
my @HEADERS = ([b => 2], [a => 1], [b => undef], [b => 3], ["h\xe9" => "\xc3\xa9"], ['' => '']);
$mock->append(t => 0, { value => 'with', headers => \@HEADERS }, { value => 'without' });

sub read_with {
    my (%option) = @_;
    my @got;
    my $kafka = connected(brokers => $mock->bootstrap, fetch_max_wait_ms => 10, %option,
        $option{on_batch} ? (on_batch => sub { push @got, map { $_->[3] } @{ $_[2] } }) : (on_message => sub { push @got, $_[5] }));
    $kafka->assign([{ topic => 't', partition => 0, offset => 0 }]);
    $kafka->consume;
    wait_until { @got == 2 } 'records';
    return \@got;
}

my %hash = map { @$_ } @HEADERS;
for my $by ([], [on_batch => 1]) {
    is_deeply read_with(@$by), [\%hash, undef], "a hash, @$by";
    is_deeply read_with(@$by, headers => 'hash'), [\%hash, undef], "when asked for, too, @$by";
    is_deeply read_with(@$by, headers => 'pairs'), [\@HEADERS, undef], "pairs, in order and with repeats, @$by";
}
is_deeply read_with(headers => 'pairs', strings => 'utf8')->[0][4], ["h\xe9" => "\xe9"], 'names and values as strings says';

subtest 'what was read is produced again' => sub {
    $mock->create_topic(copy => 1);
    my $result;
    my $kafka = connected(brokers => $mock->bootstrap);
    $kafka->produce('copy', undef, 'v', { headers => read_with(headers => 'pairs')->[0] }, sub { $result = [@_] });
    wait_until { $result } 'delivery';
    is_deeply [$mock->records(copy => 0)]->[0]{headers}, \@HEADERS, 'as it was';
};

subtest 'a connection' => sub {
    my $conn  = MockTest::connection($mock);
    my $first = sub {
        my ($result) = MockTest::answer($conn, fetch => 't', 0, 0);
        return $result->{topics}[0]{partitions}[0]{records}[0]{headers};
    };
    is_deeply $first->(), \%hash, 'gives a hash';
    $conn->headers('pairs');
    is_deeply $first->(), \@HEADERS, 'or pairs';
    $conn->headers(undef);
    is_deeply $first->(), \%hash, 'and a hash again';
    MockTest::croaks_like(sub { $conn->headers('list') }, qr/\Aheaders: must be 'hash', 'pairs' or undef at \Q$0\E/);
};

MockTest::croaks_like(sub { EV::Kafka->new(headers => 'list') }, qr/option 'headers' must be hash or pairs, not 'list' at \Q$0\E/);

done_testing;

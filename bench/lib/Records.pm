package Records;

# Records as people have them, for measuring codecs: one value repeated compresses like nothing that anybody sends.

use v5.14;
use warnings;

use Exporter qw(import);

our @EXPORT_OK = qw(json_records RECORD_LEN);

# Bytes of a record.
use constant RECORD_LEN => 250;

# What the generator of numbers multiplies with and adds (Numerical Recipes' of 32 bits): it gives the same on every
# perl, and leaves the program's own rand alone.
use constant {
    FACTOR    => 1_664_525,
    INCREMENT => 1_013_904_223,
};

# Milliseconds between records, at most.
use constant MAX_STEP_MS => 40;

# What the clock of the first record shows, in seconds since the epoch.
use constant FIRST_S => 1_750_000_000;

my @METHODS  = qw(GET GET GET GET POST POST PUT DELETE);
my @STATUSES = ((200) x 8, 201, 204, 301, 304, 400, 404, 404, 500, 503);
my @LEVELS   = qw(debug info info info info warn error);
my @HOSTS    = map { sprintf 'web-%02d.eu', $_ } 1 .. 24;
my @PATHS    = qw(api/v2/orders api/v2/carts api/v2/users api/v1/search static/img assets/js checkout account/login
    account/profile catalog/items catalog/brands feeds/news feeds/prices health reports/daily webhooks/payments);
my @WORDS = qw(about account after again because before cache cancelled cart changed checkout client closed configured
    connection could created customer deadline delivered does empty expired failed fetched first found from gateway
    handler has invalid inventory item late limit loaded login missing moved never next not of old open order over
    payment pending price profile queue quickly rate received refund rejected removed reply request retry saved sent
    session shipped slowly stale stock stored timeout token too twice unknown updated upstream user valid waiting was
    warehouse while with without written);

# json_records($count, $seed) -> lines of a log in JSON, each of RECORD_LEN bytes and each another.
sub json_records {
    my ($count, $seed) = @_;
    my $state = $seed & 0xffff_ffff;
    my $bits  = sub { ($state = ($state * FACTOR + INCREMENT) & 0xffff_ffff) >> 8 };
    my $below = sub { $bits->() * $_[0] >> 24 };
    my $one   = sub { $_[0][$below->(scalar @{ $_[0] })] };
    my $now   = FIRST_S * 1000;
    return map {
        $now += $below->(MAX_STEP_MS);
        my @time = gmtime(int($now / 1000));
        my $record = sprintf '{"ts":"%04d-%02d-%02dT%02d:%02d:%02d.%03dZ","id":"%06x%06x%04x","user":%d,"host":"%s",'
            . '"level":"%s","method":"%s","path":"/%s/%d","status":%d,"took_ms":%.1f,"bytes":%d,"msg":"',
            $time[5] + 1900, $time[4] + 1, @time[3, 2, 1, 0], $now % 1000, $bits->(), $bits->(), $below->(1 << 16),
            100_000 + $below->(900_000), $one->(\@HOSTS), $one->(\@LEVELS), $one->(\@METHODS), $one->(\@PATHS),
            $below->(100_000), $one->(\@STATUSES), $below->(20_000) / 10, $below->(60_000);
        my $room = RECORD_LEN - length '"}';
        $record .= $one->(\@WORDS) . ' ' while length $record < $room;
        substr($record, $room) = '"}';
        $record;
    } 1 .. $count;
}

1;

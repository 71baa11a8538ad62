# Threads: each interpreter has its own; nothing native is shared.
use strict;
use warnings;
use Config;
use Test::More;

BEGIN {
    plan skip_all => 'this perl has no threads' unless $Config{useithreads};
}
use threads;
use Scalar::Util qw(blessed);

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest;

my $counter = PerlXsTest::Counter->new(5);
my $handled = 0;
$counter->on(sub { $handled++ });
{ package PerlXsTest::Skipped; our @ISA = 'PerlXsTest::Counter' }
my $skipped = PerlXsTest::Skipped->new(1);

my $in_thread = threads->create(
    { context => 'list' },
    sub {
        my $error = eval { $counter->value; 1 } ? '' : $@;
        my $own   = PerlXsTest::Counter->new(7);
        my $sum   = 0;
        $own->on(sub { $sum += $_[0] });
        $own->fire for 1 .. 10;
        PerlXsTest::consume(sub { $sum += $_[2] }, 100, 10);
        PerlXsTest::deliver(sub { [(sub { $sum += $_[0]{topics}[0]{partitions}[0]{base_offset} }) x 10] });
        my ($how, $died) = PerlXsTest::call(sub { die "in thread\n" });
        my @warnings;
        local $SIG{__WARN__} = sub { push @warnings, @_ };
        PerlXsTest::warn("warned\n");
        undef $own;
        return ($error, blessed($skipped) ? 'there' : 'skipped', $sum, $died, @warnings, PerlXsTest::live());
    },
);
my ($error, $skip, $sum, $died, $warning, $live) = $in_thread->join;
like $error, qr/^PerlXsTest::Counter: object belongs to another thread/, "a thread's copy of an object is none";
is $skip, 'skipped', 'with CLONE_SKIP it is not even blessed';
is $sum, 70 + 4950 + 45, 'objects and loops of its own work there';
is $died, "in thread\n", 'so do calls';
is $warning, "warned\n", 'and warnings';
is $live, 0, 'and its objects end there';

is $counter->fire, 5, 'the object still works where it was made';
is $handled, 1, '... with its handler';
is PerlXsTest::live(), 2, 'the thread took nothing along';

my @threads = map {
    my $n = $_;
    threads->create(sub {
        my $sum = 0;
        for (1 .. 50) {
            my $own = PerlXsTest::Counter->new($n);
            $own->on(sub { $sum += $_[0]; die "x\n" if $_[0] == 3 });
            local $SIG{__WARN__} = sub { };
            $own->fire;
            PerlXsTest::consume(sub { $sum++ }, 10, 10);
        }
        return $sum;
    })
} 1 .. 4;
is_deeply [map { $_->join } @threads], [map { 50 * $_ + 500 } 1 .. 4], 'several at once';

my $exits = threads->create(sub { PerlXsTest::call(sub { threads->exit }); return 'not reached' });
is $exits->join, undef, 'threads->exit in a callback ends the thread';
is $counter->value, 5, '... and nothing else';

my $detached = PerlXsTest::Counter->new(1);
$detached->detach;
my $error_there = threads->create(sub { eval { $detached->value }; $@ })->join;
like $error_there, qr/destroyed object/, 'a destroyed object stays one';

done_testing;

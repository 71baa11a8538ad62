use v5.14;
use warnings;

# A machine that has just started: its monotonic clock stands near 0, where no time
# lies "long ago". All of t/ runs in a time namespace (time_namespaces(7)) whose clock
# starts now.

use Test::More;
use Time::HiRes qw(clock_gettime CLOCK_MONOTONIC CLOCK_BOOTTIME);

# Who is not root gets a user namespace as well, where the system allows that.
my @unshare = ('unshare', $> ? '--map-root-user' : (), '--time', '--fork',
    map { my ($name, $clock) = @$_; "--$name=-" . int clock_gettime($clock) }
        [monotonic => CLOCK_MONOTONIC], [boottime => CLOCK_BOOTTIME]);

# Only the processes that unshare starts are in the namespace.
my $clock = do {
    open my $pipe, '-|', @unshare, $^X, '-MTime::HiRes', '-e',
        'print Time::HiRes::clock_gettime(Time::HiRes::CLOCK_MONOTONIC())' or die "unshare: $!";
    local $/;
    readline $pipe;
};
BAIL_OUT('unshare (util-linux) must be allowed to make a time namespace: run this as root')
    unless defined $clock && $clock =~ /\A[\d.]+\z/;
cmp_ok $clock, '<', 60, 'the clock has just started';

# The one that takes longest is begun first.
my @tests   = sort { ($b =~ m{/again\.t\z}) <=> ($a =~ m{/again\.t\z}) || $a cmp $b } glob 't/*/*.t';
my @command = (@unshare, 'prove', '-j6', '-Q', (map { "-I$_" } qw(blib/lib blib/arch t/lib)), @tests);
is system(@command), 0, 'everything in t/ passes there';

done_testing;

package Memory;
# What a process holds in memory, for tests that leaks and buffers without bounds would fail.
use strict;
use warnings;

use Exporter qw(import);
use POSIX ();

our @EXPORT = qw(resident unseen);

my $page = POSIX::sysconf(POSIX::_SC_PAGESIZE());

# Resident bytes of this process.
sub resident {
    open my $statm, '<', '/proc/self/statm' or die "/proc/self/statm: $!";
    return $page * (split ' ', readline $statm)[1];
}

# Why it cannot be seen here, if so, for skip_all.
sub unseen {
    return 'no /proc/self/statm to read the resident size from' unless -r '/proc/self/statm';
    # It keeps what was freed, to see who uses it still.
    return 'the allocator is AddressSanitizer\'s' if ($ENV{LD_PRELOAD} // '') =~ /libasan/;
    return;
}

1;

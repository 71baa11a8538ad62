package LinkedCrates;
use v5.14;
use warnings;

# The crates that EV::Kafka's library is made of, as cargo names them from within a checkout.

use Exporter qw(import);

our @EXPORT_OK = qw(linked_crates output_of $CARGO);

our $CARGO = $ENV{CARGO} || 'cargo';

# What EV::Kafka is built on. A list that depended on the machine would never be current.
my @SYSTEMS = map { my $system = $_; map {"$_-$system"} qw(x86_64 aarch64) } qw(unknown-linux-gnu apple-darwin unknown-freebsd);

# linked_crates('normal') or, with what only the build needs, ('normal,build'): "name version", sorted.
sub linked_crates {
    my ($kinds) = @_;
    my %linked;
    for my $system (@SYSTEMS) {
        my $tree = output_of($CARGO, qw(tree --locked -p ev-kafka --prefix none --format {p}), '-e', $kinds, '--target', $system);
        $linked{"$1 $2"}++ while $tree =~ /^(\S+) v(\S+)(?: \(proc-macro\))?(?: \(\*\))?$/mg;
    }
    return sort keys %linked;
}

sub output_of {
    my (@command) = @_;
    open my $in, '-|', @command or die "$command[0]: $!\n";
    my $output = do { local $/; readline $in };
    close $in or die "@command failed\n";
    return $output;
}

1;

package Valgrind;
use strict;
use warnings;

use Exporter qw(import);
use File::Temp qw(tempdir);
use Test::More;

our @EXPORT = qw(under_valgrind);

my ($valgrind) = grep { -x } map { "$_/valgrind" } split /:/, $ENV{PATH};
plan skip_all => 'valgrind is not installed' unless $valgrind;

# Perl's hash seeds decide what valgrind sees.
@ENV{qw(PERL_HASH_SEED PERL_PERTURB_KEYS)} = (0, 0);

# Frames of errors that are perl's own: an overlapping copy in Cwd; stacks that grew, and arenas
# of bodies that perl took, below one of our calls and are not freed at perl's end.
my $perls_own = qr/Cwd\.so|Perl_(?:more_bodies|tmps_grow_p|push_scope|stack_grow|new_stackinfo|savestack_grow|markstack_grow|cxinc)\b/;

# To valgrind, which does not follow ring's assembly, all that is derived from an HMAC or
# a hash is uninitialised, the keys of TLS among it. OpenSSL, at the other end, sees the
# right bytes.
my $rings_own = qr/Uninitialised value was created by a stack allocation\n.*ring::(?:hmac|hash|digest)::/s;

# So is what leaves encrypted by such keys. It takes the place on the stack that they were
# made at for that of whoever had it before.
my $encrypted = qr/sendto\(msg\) points to uninitialised byte.*kafka_conn::tls::stream::TlsStream/s;

# Errors of any kind, and leaks that have one of our frames in their stack.
sub complaints {
    my ($file) = @_;
    open my $log, '<', $file or die "$file: $!";
    my $text = do { local $/; <$log> } // '';
    $text =~ s/^==\d+== ?//mg;
    my @blocks = grep { /\S/ } split /\n\s*\n/, $text;
    return grep { !/$perls_own|$rings_own|$encrypted/ && (!/definitely lost/ || /Kafka\.so|ev_kafka|kafka_conn|perl_xs/) } @blocks;
}

# Runs the program, and tests that it ends well and that valgrind has nothing to say of the
# process itself, nor of its children: these end in the midst of what they do, so what they
# leave is no leak. Gives the lines that it printed.
sub under_valgrind {
    my ($name, $program) = @_;
    my $log = tempdir(CLEANUP => 1) . '/valgrind';
    my @command = (
        $valgrind, '--quiet', '--leak-check=full', '--show-leak-kinds=definite', '--errors-for-leak-kinds=definite',
        '--num-callers=30', '--track-origins=yes',
        "--log-file=$log.%p", $^X, (map { "-I$_" } grep { !ref } @INC), $program,
    );
    my $pid = open my $pipe, '-|', @command or die "valgrind: $!";
    my @tap = <$pipe>;
    close $pipe;
    is $?, 0, "$name passes" or diag grep { !/\A *ok / } @tap;
    my %complaints = map { $_ => [complaints($_)] } glob "$log.*";
    my $own = delete $complaints{"$log.$pid"};
    is_deeply $own, [], "$name: no complaints";
    is_deeply [grep { !/definitely lost/ } map { @$_ } values %complaints], [], "$name: nor of children";
    return @tap;
}

1;

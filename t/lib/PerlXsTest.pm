package PerlXsTest;
# Builds and loads the small XS module through which t/perl-xs/ tests the crate rust/perl-xs.
use strict;
use warnings;

use Cwd qw(abs_path);
use DynaLoader ();
use Exporter qw(import);
use File::Spec::Functions qw(catdir catfile updir);
use File::Basename qw(dirname);

our $VERSION = '1.5';
our $FAIL_TO_BOOT;    # for t/perl-xs/boot.t
our @EXPORT_OK = qw(in_child leaks_nothing);

my $root = abs_path(catdir(dirname(__FILE__), updir, updir));

# PERL_XS_TEST_PROFILE=release is for timing.
sub _build {
    my $profile = $ENV{PERL_XS_TEST_PROFILE} // 'dev';
    my $target  = $ENV{CARGO_TARGET_DIR} // catdir($root, 'target');
    my $cargo   = $ENV{CARGO} // 'cargo';

    # Said only if it is another perl than cargo's build finds by itself: a change of it rebuilds.
    my ($found) = grep { -x } map { catfile($_, 'perl') } File::Spec->path;
    local $ENV{PERL} = $^X unless defined $found && abs_path($found) eq abs_path($^X);

    my @command = (
        $cargo, 'build', '--quiet', '-p', 'perl-xs-testmod', '--profile', $profile,
        '--manifest-path' => catfile($root, 'Cargo.toml'),
        '--target-dir'    => $target,
    );
    system(@command) == 0 or die "@command failed: $?\n";
    return catfile($target, $profile eq 'dev' ? 'debug' : $profile, 'libperl_xs_testmod.so');
}

our $file;

sub _boot {
    $file = $ENV{PERL_XS_TEST_LIBRARY} // _build();
    my $lib = DynaLoader::dl_load_file($file, 0) or die DynaLoader::dl_error();
    my $symbol = DynaLoader::dl_find_symbol($lib, 'boot_PerlXsTest') or die DynaLoader::dl_error();
    return DynaLoader::dl_install_xsub('PerlXsTest::bootstrap', $symbol, $file);
}

our $boot = _boot();
$boot->(__PACKAGE__);

# Not in children: perl counts what an exit in the middle of a free leaves.
my $pid = $$;
END { destroy_everything_at_exit() if $ENV{PERL_XS_TEST_VALGRIND} && $$ == $pid }

# Runs the code in a forked child; returns (exit code, signal, what it printed).
sub in_child {
    my ($code) = @_;
    pipe my $reader, my $writer or die "pipe: $!";
    defined(my $pid = fork) or die "fork: $!";
    if (!$pid) {
        close $reader;
        open STDOUT, '>&', $writer or die "dup: $!";
        open STDERR, '>&', $writer or die "dup: $!";
        STDOUT->autoflush(1);
        $code->();
        require POSIX;
        POSIX::_exit(99);
    }
    close $writer;
    my $output = do { local $/; <$reader> };
    waitpid $pid, 0;
    return ($? >> 8, $? & 127, $output // '');
}

# How many scalars a second hundred of runs leaves behind.
sub leaks_nothing {
    my ($code) = @_;
    $code->() for 1 .. 20;
    my $before = PerlXsTest::sv_count();
    $code->() for 1 .. 100;
    return PerlXsTest::sv_count() - $before;
}

package PerlXsTest::Counter {
    sub new { my ($class, $start) = @_; return PerlXsTest::Counter::_attach(bless({}, $class), $start) }
}

package PerlXsTest::Log {
    our @calls;
    sub new    { my ($class) = @_; return PerlXsTest::Log::_attach(bless {}, $class) }
    sub _began { my ($self) = @_; push @calls, ['_began', ref $self]; return }
    sub _full  { my ($self) = @_; push @calls, ['_full',  ref $self]; return }
    sub _answered { push @calls, ['_answered', @_[1 .. $#_]]; return wantarray ? ('answered', 'list') : 'answered' }
    sub _slow  { push @calls, ['_slow', @_[1 .. $#_]]; return wantarray ? ('slow', 'list') : 'slow' }
}

1;

use v5.14;
use warnings;

# The tarball: made as for CPAN, and built from what script/vendor has fetched, by somebody without a home folder, where
# there is no network. What is installed works, and says nothing of whoever built it.

use Config;
use Cwd                qw(getcwd);
use ExtUtils::Manifest qw(maniread manicopy);
use File::Find         qw(find);
use File::Spec;
use File::Temp qw(tempdir);
use JSON::PP   ();
use Test::More;

$ExtUtils::Manifest::Quiet = 1;

my $checkout = getcwd();
my $folder   = File::Spec->rel2abs(tempdir(CLEANUP => 1));
my $home     = "$folder/home";
mkdir $home or die "$home: $!";

# The toolchain, which rustup looks for in a home folder.
my $cargo = $ENV{CARGO} || 'cargo';
chomp(my $toolchain = `rustc --print sysroot`);
my %environment = (
    HOME => $home, PATH => "$toolchain/bin:$ENV{PATH}",
    # Built to be looked at, not to be fast.
    CARGO_PROFILE_RELEASE_OPT_LEVEL => 0, CARGO_PROFILE_RELEASE_LTO => 'off', CARGO_PROFILE_RELEASE_CODEGEN_UNITS => 16,
);

# Runs a command in a folder; with a true $alone as somebody else without network. What it says, if it fails.
my $alone = system('unshare', '-n', 'true') == 0 ? 'unshare -n' : 'env CARGO_NET_OFFLINE=true';
sub runs {
    my ($what, $in, $command, $is_alone) = @_;
    local %ENV = $is_alone ? (%ENV, %environment) : %ENV;
    delete @ENV{qw(CARGO_HOME RUSTUP_HOME MAKEFLAGS MAKELEVEL)} if $is_alone;
    $command = "$alone sh -c '$command'" if $is_alone;
    my $said = `cd $in && ($command) 2>&1`;
    is $?, 0, $what or diag $said;
    return $said;
}

sub contents {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!";
    binmode $in;
    local $/;
    return scalar readline $in;
}

# The modules that files load, and one that does.
sub modules_used {
    my %used;
    find({ no_chdir => 1, wanted => sub {
        return unless -f && m{\.(?:pm|t)\z|/bin/};
        my $code = contents($_) =~ s/\n__END__\n.*//sr =~ s/\n=\w.*?\n=cut\n//sgr =~ s/<<'(\w+)'.*?\n\1\n//sgr;
        $used{$1} = $_ while $code =~ /^\s*(?:use|require) ([A-Z]\w*(?:::\w+)*)\b/mg;
    } }, @_);
    return %used;
}

subtest 'it is made' => sub {
    mkdir "$folder/made";
    manicopy(maniread(), "$folder/made", 'cp');
    runs('make dist', "$folder/made", "$^X Makefile.PL && make dist");
    runs('unpacked', $folder, 'tar -xzf made/EV-Kafka-*.tar.gz && mv EV-Kafka-[0-9]* tarball');
};
my $tarball = "$folder/tarball";

subtest 'what it says of itself' => sub {
    my $meta = JSON::PP->new->decode(contents("$tarball/META.json"));
    is $meta->{name}, 'EV-Kafka', 'name';
    is_deeply $meta->{license}, ['perl_5'], 'licence';
    is $meta->{prereqs}{runtime}{requires}{perl}, '5.014', 'perl';
    is $meta->{provides}{$_}{version}, $meta->{version}, "$_ and its version" for qw(EV::Kafka EV::Kafka::Conn EV::Kafka::Mock);
    ok $meta->{resources}{$_}, "resources: $_" for qw(homepage bugtracker license);
    ok -s "$tarball/$_", $_ for qw(META.yml THIRD-PARTY LICENSE Changes SECURITY.md SUPPORT.md);
    like contents("$tarball/Changes"), qr/^\Q$meta->{version}\E  20[0-9]{2}-[01][0-9]-[0-3][0-9]$/m, 'the version has a date';
    # What is used is asked for.
    my @helpers = map { s{.*/t/lib/}{}r =~ s{/}{::}gr =~ s/\.pm\z//r } glob "$tarball/t/lib/*.pm";
    my %asked   = map { $_ => 1 } keys %{ $meta->{provides} }, qw(AnyEvent Config Future Future::AsyncAwait);
    for my $phase (['runtime', "$tarball/bin", "$tarball/lib"], ['test', "$tarball/t"]) {
        my ($name, @folders) = @$phase;
        $asked{$_} = 1 for keys %{ $meta->{prereqs}{$name}{requires} }, $name eq 'test' ? @helpers : ();
        my %used = modules_used(@folders);
        is_deeply [map {"$_ by $used{$_}"} grep { !$asked{$_} } sort keys %used], [], "$name: every module that is used is asked for";
    }
};

subtest 'it is built without network, by somebody without a home' => sub {
    runs('vendored', $tarball, "CARGO=$cargo script/vendor");
    runs('built', $tarball, "$^X Makefile.PL && make", 1);
    runs('tested', $tarball, "make test TEST_FILES=\"t/client/produce.t t/client/consume.t t/mock/*.t\"");
    runs('installed', $tarball, "make install DESTDIR=$folder/root", 1);
};

subtest 'what is installed' => sub {
    my ($library, $lib, %names);
    find(sub {
        $names{$_}++;
        $library = $File::Find::name if $_ eq "Kafka.$Config{dlext}";
        $lib     = $File::Find::dir  if $_ eq 'Kafka.pm';
    }, "$folder/root");
    ok !$names{$_}, "$_ is not" for qw(README.pod CONTRIBUTING.pod);
    cmp_ok -s $library, '<', -s "$tarball/target/release/libKafka.$Config{so}", 'the library has lost its symbols';
    my @told = grep { index(contents($library), $_) >= 0 } grep { length > 1 } $folder, $checkout, $ENV{HOME} // '', "$ENV{HOME}/.cargo";
    is_deeply \@told, [], 'and tells of no folder of the builder\'s';
    my $arch = $library =~ s{/auto/EV/Kafka/[^/]+\z}{}r;
    my $run  = qq{$^X -I$arch -I} . ($lib =~ s{/EV\z}{}r) . q{ -MEV::Kafka::Mock -e 'print EV::Kafka::Mock->new->bootstrap'};
    like scalar(`$run`), qr/\A127\.0\.0\.1:[0-9]+\z/, 'it runs';
};

done_testing;

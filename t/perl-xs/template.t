# Results that are built once and reused: only while nobody kept or changed a part of them.
use strict;
use warnings;
use Test::More;
use Scalar::Util qw(weaken refaddr);

use FindBin;
use lib "$FindBin::Bin/../lib";
use PerlXsTest qw(leaks_nothing);

sub result {
    my ($offset) = @_;
    return {
        topics => [{ topic => 'orders', partitions => [{ partition => 0, error_code => 0, base_offset => $offset }] }],
        throttle_time_ms => 0,
        extra            => undef,
    };
}

# Ten calls with $abuse in each: every call must see a result as new. Returns how many were built.
sub abused {
    my ($name, $abuse) = @_;
    my @seen;
    local $SIG{__WARN__} = sub { push @seen, @_ };
    my $builds = PerlXsTest::deliver_each(sub {
        my ($r) = @_;
        # a copy of all it holds, made without keeping or marking any of it
        my $t = $r->{topics}[0];
        my $p = $t->{partitions}[0];
        push @seen, {
            topics => [{ topic => $t->{topic}, partitions => [{ map { $_ => $p->{$_} } 'partition', 'error_code', 'base_offset' }] }],
            throttle_time_ms => $r->{throttle_time_ms},
            extra            => $r->{extra},
        };
        push @seen, 'more' if keys(%$r) != 3 || @{ $r->{topics} } != 1 || keys(%$t) != 2 || @{ $t->{partitions} } != 1;
        return $abuse->($_[0]);
    }, 10);
    is_deeply \@seen, [map { result($_) } 0 .. 9], $name;
    return $builds;
}

# As abused, without looking at the results in a way that marks them.
sub builds {
    my ($abuse) = @_;
    return PerlXsTest::deliver_each($abuse, 10);
}

subtest 'reuse' => sub {
    my %seen;
    is builds(sub { my ($r, $e) = @_; $seen{ refaddr $r }++ }), 1, 'a result that nobody keeps is built once';
    is keys %seen, 1, '... and is the same one each time';
    is builds(sub { my ($r) = @_; my $offset = $r->{topics}[0]{partitions}[0]{base_offset}; my $next = $offset + 1; }), 1, 'reading it too';
    is builds(sub { $_[0]{topics}[0]{partitions}[0]{base_offset} = 5 }), 1, 'a changed integer is only set again';
    is builds(sub { my $text = "$_[0]{topics}[0]{partitions}[0]{base_offset}" }), 1, 'a printed one too';
    is builds(sub { my @topics = @{ $_[0]{topics} } }), 1, 'a shallow copy of an array';
    my @topics;
    PerlXsTest::deliver_each(sub { my ($r) = @_; push @topics, "$r->{topics}[0]{topic} $r->{topics}[0]{partitions}[0]{base_offset}" }, 3);
    is_deeply \@topics, ['orders 0', 'orders 1', 'orders 2'], 'the values are right';
};

subtest 'results that are kept' => sub {
    my @kept;
    is builds(sub { push @kept, $_[0] }), 10, 'whole: each is new';
    is_deeply \@kept, [map { result($_) } 0 .. 9], '... and stays what it was';
    my @parts = (
        ['the array of topics'  => sub { $_[0]{topics} }],
        ['a topic'              => sub { $_[0]{topics}[0] }],
        ['the partitions'       => sub { $_[0]{topics}[0]{partitions} }],
        ['a partition'          => sub { $_[0]{topics}[0]{partitions}[0] }],
        ['a leaf by reference'  => sub { \$_[0]{topics}[0]{partitions}[0]{base_offset} }],
        ['a string by reference' => sub { \$_[0]{topics}[0]{topic} }],
        ['an undef by reference' => sub { \$_[0]{extra} }],
        ['an inner reference by reference' => sub { \$_[0]{topics} }],
        ['the argument by reference' => sub { \$_[0] }],
        ['a closure over it'    => sub { my $r = $_[0]; sub { $r } }],
    );
    for my $part (@parts) {
        my ($name, $get) = @$part;
        @kept = ();
        abused("$name, kept", sub { push @kept, $get->(@_) });
        my %different = map { refaddr($_) => 1 } @kept;
        is keys %different, 10, '... each its own' unless $name =~ /closure/;
        @kept = ();
        builds(sub { push @kept, [$_[0]{topics}[0]{partitions}[0]{base_offset}, $get->(@_)] });
        is_deeply [map { $_->[0] } @kept], [0 .. 9], '... with the right values';
    }
    @kept = ();
    my $base;
    builds(sub { $base //= $_[0]{topics}[0]{partitions}[0] });
    is $base->{base_offset}, 0, 'only the first kept: it stays';
};

subtest 'results that are changed' => sub {
    require Tie::Hash;
    { package TiedScalar; sub TIESCALAR { bless [] } sub FETCH { 'tied' } sub STORE { die 'stored' } }
    my @kept;
    my @cases = (
        ['a key added',            sub { $_[0]{mine} = 1 }],
        ['a key deleted',          sub { delete $_[0]{topics} }],
        ['one replaced by another', sub { delete $_[0]{throttle_time_ms}; $_[0]{other} = 1 }],
        ['one deleted and stored again', sub { my $v = delete $_[0]{throttle_time_ms}; $_[0]{throttle_time_ms} = $v }],
        ['deleted, kept, stored again', sub { push @kept, \delete $_[0]{throttle_time_ms}; $_[0]{throttle_time_ms} = 77 }],
        ['a node deleted, kept, stored again', sub { push @kept, delete $_[0]{topics}[0]{partitions}; $_[0]{topics}[0]{partitions} = [1] }],
        ['emptied',                sub { %{ $_[0] } = () }],
        ['an array emptied',       sub { @{ $_[0]{topics} } = () }],
        ['an array extended',      sub { push @{ $_[0]{topics} }, 1 }],
        ['an element replaced',    sub { $_[0]{topics}[0] = { other => 1 } }],
        ['an element shifted and pushed', sub { push @{ $_[0]{topics} }, shift @{ $_[0]{topics} } }],
        ['an element shifted off', sub { push @kept, shift @{ $_[0]{topics} } }],
        ['the string changed',     sub { $_[0]{topics}[0]{topic} = 'other' }],
        ['the string appended to', sub { $_[0]{topics}[0]{topic} .= 'other' }],
        ['the undef assigned',     sub { $_[0]{extra} = 5 }],
        ['a leaf made a string',   sub { $_[0]{topics}[0]{partitions}[0]{base_offset} = 'text' }],
        ['a leaf made a reference', sub { $_[0]{throttle_time_ms} = [1] }],
        ['a leaf made a float',    sub { $_[0]{throttle_time_ms} = 1.5 }],
        ['a leaf undefined',       sub { undef $_[0]{throttle_time_ms} }],
        ['a leaf made unsigned',   sub { $_[0]{throttle_time_ms} = 18446744073709551615 }],
        ['a leaf made a glob',     sub { $_[0]{throttle_time_ms} = *STDOUT }],
        ['a leaf made wide',       sub { $_[0]{throttle_time_ms} = "\x{263a}" }],
        ['a leaf made read-only',  sub { Internals::SvREADONLY($_[0]{throttle_time_ms}, 1) }],
        ['the hash made read-only', sub { Internals::SvREADONLY(%{ $_[0] }, 1) }],
        ['blessed',                sub { bless $_[0], 'Some::Class' }],
        ['an inner node blessed',  sub { bless $_[0]{topics}[0], 'Some::Class' }],
        ['a leaf blessed',         sub { bless \$_[0]{throttle_time_ms}, 'Some::Class' }],
        ['an inner reference weakened', sub { push @kept, $_[0]{topics}; weaken($_[0]{topics}) }],
        ['weakened to nothing',    sub { weaken($_[0]{topics}[0]{partitions}) }],
        ['a weak reference to it', sub { push @kept, $_[0]; weaken($kept[-1]) }],
        ['an each started',        sub { each %{ $_[0] } }],
        ['keys and values',        sub { my @all = (keys %{ $_[0] }, values %{ $_[0]{topics}[0] }) }],
        ['values aliased',         sub { $_ = 3 for values %{ $_[0]{topics}[0]{partitions}[0] } }],
        ['tied',                   sub { tie %{ $_[0] }, 'Tie::StdHash' }],
        ['a leaf tied',            sub { tie $_[0]{throttle_time_ms}, 'TiedScalar' }],
        ['an inner array tied',    sub { require Tie::Array; tie @{ $_[0]{topics} }, 'Tie::StdArray' }],
        ['a cycle',                sub { $_[0]{topics}[0]{self} = $_[0]; push @kept, $_[0] }],
        ['the argument assigned',  sub { $_[0] = 'gone' }],
        ['a slice deleted',        sub { delete @{ $_[0] }{qw(extra throttle_time_ms)} }],
        ['swapped leaves',         sub { @{ $_[0]{topics}[0]{partitions}[0] }{qw(partition base_offset)} = (8, 9) }],
        ['pos set',                sub { pos($_[0]{throttle_time_ms}) = 0 }],
        ['made an lvalue',         sub { substr($_[0]{topics}[0]{topic}, 0, 1) = 'X' }],
        ['numified string',        sub { no warnings; my $x = $_[0]{topics}[0]{topic} + 0 }],
        ['local on an element',    sub { local $_[0]{topics} = 1 }],
        ['dies',                   sub { local $SIG{__DIE__}; eval { die $_[0] } }],
    );
    abused(@$_) for @cases;
    eval { delete $_->{topics}[0]{self} } for grep { ref eq 'HASH' } @kept;
    @kept = ();
};

subtest 'sort of a free for all' => sub {
    my @warnings;
    local $SIG{__WARN__} = sub { push @warnings, @_ };
    my @kept;
    srand 7;
    my @acts = (
        sub { push @kept, $_[0] }, sub { push @kept, $_[0]{topics} }, sub { shift @kept }, sub { @kept = () },
        sub { $_[0]{x} = 1 }, sub { delete $_[0]{topics} }, sub { bless $_[0], 'X' }, sub { die "x\n" }, sub { },
        sub { push @kept, \$_[0]{throttle_time_ms} }, sub { weaken($_[0]{topics}) }, sub { %{ $_[0] } = @kept[0 .. 1] if @kept > 1 && !grep { ref } @kept[0 .. 1] },
        sub { PerlXsTest::deliver_each(sub { my $inner = $_[0] }, 2) },
    );
    my $n = 0;
    my @offsets;
    PerlXsTest::deliver_each(sub { push @offsets, $_[0]{topics}[0]{partitions}[0]{base_offset}; $acts[rand @acts]->($_[0]) }, 20_000);
    is_deeply \@offsets, [0 .. 19_999], '20,000 calls, each with its own offset';
    ok !(grep { $_ ne "delivery: x\n" } @warnings), 'no warnings but the dies' or diag $warnings[0];
};

subtest 'a result of its own' => sub {
    my $result = PerlXsTest::template_once();
    is_deeply $result, result(42), 'has all parts';
    $result->{extra} = 1;
    $result->{topics}[0]{topic} .= '!';
    is $result->{topics}[0]{topic}, 'orders!', 'and is an ordinary structure';
};

my @kept;
is leaks_nothing(sub {
    local $SIG{__WARN__} = sub { };
    PerlXsTest::deliver_each(sub { push @kept, $_[0]; @kept = () if @kept > 3 }, 10);
    PerlXsTest::deliver_each(sub { $_[0]{x} = [1]; die $_[0] }, 10);
    PerlXsTest::deliver_each(sub { delete $_[0]{topics}; bless $_[0], 'X' }, 10);
    PerlXsTest::deliver_each(sub { weaken($_[0]{topics}) }, 10);
    PerlXsTest::template_once();
    @kept = ();
}), 0, 'nothing leaks';

done_testing;

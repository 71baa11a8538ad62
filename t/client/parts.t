use v5.14;
use warnings;

use EV::Kafka;
use Test::More;

# The client is put together from many modules, and from native methods: none may
# hide a method of another.

my %from;
for my $part (@EV::Kafka::Client::ISA) {
    no strict 'refs';
    for my $name (sort grep { defined &{"${part}::$_"} } keys %{"${part}::"}) {
        my $sub = \&{"${part}::$name"};
        push @{ $from{$name} }, $part if $name =~ /^_/ && defined_in($sub) eq $part;
    }
}

# Not what a module has imported.
sub defined_in {
    my ($sub) = @_;
    require B;
    return B::svref_2object($sub)->STASH->NAME;
}

is_deeply [map {"$_: @{ $from{$_} }"} grep { @{ $from{$_} } > 1 } sort keys %from], [], 'each method has one home';

# What tests of programs call as a function of the client is the very same one.
my %is_meant = map { $_ => 1 } qw(_merge_metadata);
is_deeply [map {"$_: @{ $from{$_} }"} grep { !$is_meant{$_} && defined &{"EV::Kafka::Client::$_"} } sort keys %from],
    [], 'and none is hidden by the client itself';

done_testing;
